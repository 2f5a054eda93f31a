"""TLS contexts, one for each host that needs its own: whom we trust, and the certificate that we show.

Trusted are the system's authorities, those of SSL_CERT_FILE and SSL_CERT_DIR (which replace the system's
file and directory, as OpenSSL and Go have it), the CA file that the user names, and, for one host, the
`*.crt` files of its directory below certs.d. `*.cert` with `*.key` there are client certificates (dockerd's
and containers-certs.d(5)'s rules).
"""

from __future__ import annotations

import os
import ssl
import sys
import threading
from collections.abc import Iterator

from hostbuild.errors import UsageError
from hostbuild.http.redirects import Origin
from hostbuild.model import Access
from hostbuild.reading import PIPE_LIMIT, read_named

#: Where distributions keep their bundle, for a Python whose OpenSSL was built for another place.
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/cert.pem",
    "/etc/ssl/ca-bundle.pem",
)

_SYSTEM_DIRECTORIES = ("/etc/containers/certs.d", "/etc/docker/certs.d")


class Contexts:
    """The TLS contexts of one `Access`, made when they are first needed; safe from many threads."""

    def __init__(self, access: Access, directories: tuple[str, ...] = _SYSTEM_DIRECTORIES) -> None:
        self._access = access
        home = access.environment.get("HOME", "")
        config = access.environment.get("XDG_CONFIG_HOME", "") or (home and os.path.join(home, ".config"))
        own = (os.path.join(config, "containers", "certs.d"),) if config else ()
        self._directories = own + directories
        self._made: dict[str, ssl.SSLContext] = {}
        self._lock = threading.Lock()

    def of(self, origin: Origin) -> ssl.SSLContext:
        """The context for connections to `origin`.

        Raises UsageError where a certificate file that the user named, or one below certs.d, cannot be used.
        """
        directory = self._directory_of(origin)
        with self._lock:
            context = self._made.get(directory)
            if context is None:
                context = self._made[directory] = self._make(directory)
            return context

    def _directory_of(self, origin: Origin) -> str:
        """The first directory for this host; "" where there is none."""
        names = [origin.place]
        if origin.port == 443:
            names.append(f"{origin.place}:443")
        for parent in self._directories:
            for name in names:
                path = os.path.join(parent, name)
                if os.path.isdir(path):
                    return path
        return ""

    def _make(self, directory: str) -> ssl.SSLContext:
        access = self._access
        if access.verify:
            context = _trusting_the_system(access)
            if access.ca_file:
                _trust(context, access.ca_file, "the CA file")
        else:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        for path in _files(directory, ".crt"):
            if access.verify:
                _trust(context, path, "the CA file")
        _show(context, directory)
        return context


def _trusting_the_system(access: Access) -> ssl.SSLContext:
    if sys.platform != "linux":
        import truststore

        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # On Linux truststore would do the same, but again for every connection and under one lock: 25 ms for
    # Debian's bundle, and one handshake at a time. The paths are asked of OpenSSL, not of the environment.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    defaults = ssl.get_default_verify_paths()
    file = access.environment.get("SSL_CERT_FILE", "")
    directories = access.environment.get("SSL_CERT_DIR", "")
    if file:
        _trust(context, file, "the file that SSL_CERT_FILE names,")
    elif os.path.isfile(defaults.openssl_cafile):
        context.load_verify_locations(cafile=defaults.openssl_cafile)
    elif not directories and not _holds_hashed(defaults.openssl_capath):
        bundle = next((path for path in _BUNDLES if os.path.isfile(path)), "")
        if bundle:
            context.load_verify_locations(cafile=bundle)
    for path in directories.split(":") if directories else [defaults.openssl_capath]:
        if os.path.isdir(path):
            context.load_verify_locations(capath=path)
    return context


def _holds_hashed(directory: str) -> bool:
    """Whether OpenSSL would find anything there: names like `1d3472b9.0`."""
    try:
        with os.scandir(directory) as entries:
            return any(len(entry.name) == 10 and entry.name[8:] == ".0" for entry in entries)
    except OSError:
        return False


def _trust(context: ssl.SSLContext, path: str, words: str) -> None:
    try:
        if os.path.isfile(path):
            context.load_verify_locations(cafile=path)
        else:  # OpenSSL would open a pipe, and wait for who writes to it
            data, _ = read_named(path, PIPE_LIMIT)
            context.load_verify_locations(cadata=data.decode("ascii", "replace"))
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        raise UsageError(f"{words} {path} holds no certificates in PEM form", why=reason.lower()) from None
    except OSError as error:
        raise UsageError(f"{words} {path} cannot be read", why=(error.strerror or "").lower()) from None


def _files(directory: str, suffix: str) -> Iterator[str]:
    if not directory:
        return
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise UsageError(f"{directory} cannot be read", why=(error.strerror or "").lower()) from None
    for name in names:
        if name.endswith(suffix):
            yield os.path.join(directory, name)


def _show(context: ssl.SSLContext, directory: str) -> None:
    """Load the client certificates of the directory."""
    for key in _files(directory, ".key"):
        if not os.path.isfile(key.removesuffix(".key") + ".cert"):
            raise UsageError(
                f"the client key {key} has no certificate", fix=f"put it beside as {key[:-4]}.cert"
            )
    for certificate in _files(directory, ".cert"):
        key = certificate.removesuffix(".cert") + ".key"
        if not os.path.isfile(key):
            raise UsageError(
                f"the client certificate {certificate} has no key",
                fix=f"put the key beside as {key}; certificates of authorities end in .crt",
            )
        try:
            context.load_cert_chain(certificate, key, password=_no_password)
        except ssl.SSLError as error:
            raise UsageError(
                f"the client certificate {certificate} and its key cannot be used",
                why=(error.reason or "the key is encrypted").lower().replace("_", " "),
            ) from None
        except OSError as error:
            raise UsageError(
                f"the client certificate {certificate} or its key cannot be read",
                why=(error.strerror or "").lower(),
            ) from None


def _no_password() -> str:
    """Keeps OpenSSL from asking at the terminal."""
    return ""
