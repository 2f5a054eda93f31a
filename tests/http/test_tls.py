"""Who is trusted, what is shown, and what is said when it does not come about."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import socket
import ssl
import threading
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hostbuild.errors import TlsError, UnreachableError, UsageError
from hostbuild.http.redirects import origin_of
from hostbuild.http.tls import Contexts
from hostbuild.model import Access
from tests.http.peers import Client, Peer, answer, closed_port
from tests.rig.tls import Authority

OK = answer(200, b"ok")
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def ask(peer: Peer, access: Access) -> bytes:
    with Client(access) as client:
        try:
            return client.transport.request("GET", peer.url).read(10)
        finally:
            assert client.time.slept == [], "trust does not come by waiting"


def test_a_named_authority_is_trusted(authority: Authority) -> None:
    with Peer(OK, context=authority.server_context()) as peer:
        assert ask(peer, Access(ca_file=str(authority.ca_file))) == b"ok"


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_the_environment_names_authorities(authority: Authority, variable: str, tmp_path: Path) -> None:
    place = str(authority.ca_file)
    if variable == "SSL_CERT_DIR":
        context = ssl.create_default_context(cafile=place)
        shutil.copy(place, tmp_path / f"{_subject_hash(context)}.0")
        place = f"{tmp_path}/missing:{tmp_path}"
    with Peer(OK, context=authority.server_context()) as peer:
        assert ask(peer, Access(environment={variable: place})) == b"ok"


def _subject_hash(context: ssl.SSLContext) -> str:
    """OpenSSL's name for the only authority of the context, as `openssl x509 -hash` has it."""
    (der,) = context.get_ca_certs(binary_form=True)
    canonical = b""
    for rdn in x509.load_der_x509_certificate(der).subject.rdns:
        (attribute,) = rdn
        text = " ".join(str(attribute.value).lower().split()).encode()
        encoded = _der(0x06, _oid(attribute.oid.dotted_string)) + _der(0x0C, text)
        canonical += _der(0x31, _der(0x30, encoded))
    return f"{int.from_bytes(hashlib.sha1(canonical).digest()[:4], 'little'):08x}"


def _der(tag: int, content: bytes) -> bytes:
    return bytes([tag, len(content)]) + content


def _oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    return bytes([40 * first + second, *rest])


def test_an_unknown_authority(authority: Authority) -> None:
    with Peer(OK, context=authority.server_context()) as peer:
        with pytest.raises(TlsError, match="an authority that is not trusted here") as caught:
            ask(peer, Access())
        assert peer.place in caught.value.what
        assert "--ca-file" in caught.value.fix
        assert "--tls-verify=false" in caught.value.fix
        assert "--registry-insecure" in caught.value.fix
        assert caught.value.exit_code == 1


def test_an_expired_certificate(authority: Authority) -> None:
    context = authority.server_context(authority.issue("old", expired=True))
    with Peer(OK, context=context) as peer, pytest.raises(TlsError, match="its certificate has expired"):
        ask(peer, Access(ca_file=str(authority.ca_file)))


@pytest.mark.parametrize("name", ["other.example", "127.9.9.9"])
def test_a_certificate_of_somebody_else(authority: Authority, name: str) -> None:
    context = authority.server_context(authority.issue("other", name))
    with Peer(OK, context=context) as peer, pytest.raises(TlsError, match="its certificate is for other"):
        ask(peer, Access(ca_file=str(authority.ca_file)))


def test_a_self_signed_certificate(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - DAY, now + DAY)
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    both = tmp_path / "both.pem"
    both.write_bytes(private + certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    with Peer(OK, context=context) as peer:
        with pytest.raises(TlsError, match="its certificate is self-signed"):
            ask(peer, Access())
        assert ask(peer, Access(ca_file=str(both))) == b"ok"


@pytest.mark.parametrize("kind", ["unknown", "expired", "other"])
def test_who_does_not_verify_accepts_all(authority: Authority, kind: str) -> None:
    pair = authority.issue(kind, *(["other.example"] if kind == "other" else []), expired=kind == "expired")
    with warnings.catch_warnings(), Peer(OK, context=authority.server_context(pair)) as peer:
        warnings.simplefilter("error")  # urllib3's InsecureRequestWarning, for one
        assert ask(peer, Access(verify=False)) == b"ok"


@contextlib.contextmanager
def blunt(data: bytes) -> Iterator[str]:
    """A server that says the same to whatever comes first; its `host:port`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    sock, _ = listener.accept()
                    with sock:
                        sock.recv(4096)
                        sock.sendall(data)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def test_tls_to_a_port_of_plain_http() -> None:
    with blunt(answer(400, b"what?", Connection="close")) as place, Client() as client:
        with pytest.raises(TlsError, match="plain HTTP where TLS is expected") as caught:
            client.transport.request("GET", f"https://{place}/")
        assert client.time.slept == []
    assert caught.value.extra["speaks"] == "http"
    assert "--registry-insecure" in caught.value.fix


@pytest.mark.parametrize(
    "data",
    [
        b"\x15\x03\x03\x00\x02\x02\x50",  # a TLS alert
        b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",  # Go
        answer(400, b"<html><title>400 The plain HTTP request was sent to HTTPS port</title>"),  # nginx
    ],
)
def test_plain_http_to_a_port_of_tls(data: bytes) -> None:
    with blunt(data) as place, Client() as client:
        with pytest.raises(TlsError, match="TLS where plain HTTP is expected") as caught:
            client.transport.request("GET", f"http://{place}/")
        assert client.time.slept == []
    assert caught.value.extra["speaks"] == "tls"
    assert "https://" in caught.value.fix


def test_plain_http_to_a_port_of_tls_that_says_nothing(authority: Authority) -> None:
    with (
        Peer(OK, context=authority.server_context()) as peer,
        Client(Access(retry_time=1)) as client,
        pytest.raises(UnreachableError) as caught,
    ):
        client.transport.request("GET", f"http://{peer.place}/")
    assert "if this is a port of TLS, use https://" in caught.value.fix


def test_a_refusal_that_speaks_of_something_else_is_returned() -> None:
    with Peer(answer(400, b"no HTTPS here")) as peer, Client() as client:
        assert client.transport.request("GET", peer.url).read(100) == b"no HTTPS here"


def test_a_handshake_that_is_cut_short_may_pass(authority: Authority) -> None:
    with (
        blunt(b"") as place,
        Client(Access(retry_time=1)) as client,
        pytest.raises(UnreachableError, match="tried 2 times"),
    ):
        client.transport.request("GET", f"https://{place}/")


# Files


def test_a_ca_file_that_is_none(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    for path in (empty, tmp_path / "missing.pem"):
        for access in (Access(ca_file=str(path)), Access(environment={"SSL_CERT_FILE": str(path)})):
            with Client(access) as client, pytest.raises(UsageError, match=str(path)):
                client.transport.request("GET", "https://127.0.0.1:1/")


class Directory:
    """`$HOME/.config/containers/certs.d/PLACE`."""

    def __init__(self, home: Path, place: str) -> None:
        self.access = Access(environment={"HOME": str(home)})
        self.path = home / ".config" / "containers" / "certs.d" / place
        self.path.mkdir(parents=True)


def test_a_hosts_directory_names_its_authority(authority: Authority, tmp_path: Path) -> None:
    with Peer(OK, context=authority.server_context()) as peer:
        directory = Directory(tmp_path, peer.place)
        shutil.copy(authority.ca_file, directory.path / "any.crt")
        assert ask(peer, directory.access) == b"ok"
    with Peer(OK, context=authority.server_context()) as peer, pytest.raises(TlsError):
        ask(peer, directory.access)  # another port


def test_a_client_certificate_is_shown(authority: Authority, tmp_path: Path) -> None:
    context = authority.server_context(client_ca=authority.ca_file)
    with Peer(OK, context=context) as peer:
        directory = Directory(tmp_path, peer.place)
        shutil.copy(authority.ca_file, directory.path / "ca.crt")
        with (
            Client(directory.access) as client,
            pytest.raises(TlsError, match="certificate required") as caught,
        ):
            client.transport.request("GET", peer.url)
        assert f"/etc/docker/certs.d/{peer.place}/" in caught.value.fix
        pair = authority.issue("me", "me")
        shutil.copy(pair.certificate, directory.path / "me.cert")
        shutil.copy(pair.key, directory.path / "me.key")
        assert ask(peer, directory.access) == b"ok"
        assert ask(peer, directory.access._replace(verify=False)) == b"ok"


@pytest.mark.parametrize("name", ["me.cert", "me.key"])
def test_half_a_client_certificate(authority: Authority, tmp_path: Path, name: str) -> None:
    directory = Directory(tmp_path, "registry.example")
    pair = authority.issue("half", "half")
    shutil.copy(pair.certificate if name == "me.cert" else pair.key, directory.path / name)
    with Client(directory.access) as client, pytest.raises(UsageError, match=name):
        client.transport.request("GET", "https://registry.example/")


def test_a_client_key_that_is_none(authority: Authority, tmp_path: Path) -> None:
    directory = Directory(tmp_path, "registry.example")
    shutil.copy(authority.issue("half", "half").certificate, directory.path / "me.cert")
    (directory.path / "me.key").write_text("nothing")
    with Client(directory.access) as client, pytest.raises(UsageError, match=r"me\.cert"):
        client.transport.request("GET", "https://registry.example/")


def test_which_directory_is_a_hosts(tmp_path: Path) -> None:
    for name in ("a.example", "a.example:5000", "b.example:443", "c.example"):
        (tmp_path / "own" / "containers" / "certs.d" / name).mkdir(parents=True)
    (tmp_path / "etc" / "c.example").mkdir(parents=True)
    (tmp_path / "etc" / "d.example").mkdir(parents=True)
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "own")}
    contexts = Contexts(Access(environment=environment), (str(tmp_path / "etc"),))

    def directory(url: str) -> str:
        return contexts._directory_of(origin_of(url)).removeprefix(f"{tmp_path}/")

    assert directory("https://a.example/x") == "own/containers/certs.d/a.example"
    assert directory("https://a.example:5000") == "own/containers/certs.d/a.example:5000"
    assert directory("https://a.example:5001") == ""
    assert directory("https://b.example") == "own/containers/certs.d/b.example:443"
    assert directory("https://c.example:443") == "own/containers/certs.d/c.example"
    assert directory("https://d.example") == "etc/d.example"
    assert contexts.of(origin_of("https://x.example")) is contexts.of(origin_of("https://y.example"))


def test_nothing_listens() -> None:
    with Client() as client, pytest.raises(UnreachableError, match="connection refused"):
        client.transport.request("GET", f"https://127.0.0.1:{closed_port()}/")
