"""Certificates for tests: one authority that nothing on the machine trusts, and what it signs."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path
from typing import NamedTuple

import trustme

#: Names and addresses at which the tests' servers answer.
NAMES = ("localhost", "127.0.0.1", "127.0.0.2", "registry.test")


class KeyPair(NamedTuple):
    """Files in PEM form: a certificate and its private key."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority; `ca_file` is what a client must trust. Its files lie in `directory`."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._ca = trustme.CA()
        self.ca_file = directory / "ca.crt"
        self._ca.cert_pem.write_to_path(self.ca_file)

    def issue(self, name: str, *identities: str, expired: bool = False) -> KeyPair:
        """A certificate for the given host names and addresses (default NAMES); `name` names its files."""
        now = dt.datetime.now(dt.UTC)
        day = dt.timedelta(days=1)
        times = (now - 3 * day, now - 2 * day) if expired else (now - day, now + day)
        issued = self._ca.issue_cert(*(identities or NAMES), not_before=times[0], not_after=times[1])
        pair = KeyPair(self._directory / f"{name}.crt", self._directory / f"{name}.key")
        chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        pair.certificate.write_bytes(chain)
        issued.private_key_pem.write_to_path(pair.key)
        return pair

    def server_context(self, pair: KeyPair | None = None, *, client_ca: Path | None = None) -> ssl.SSLContext:
        """For a server in Python; with `client_ca` it asks clients for a certificate of that authority."""
        pair = pair or self.issue("server")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_context(self) -> ssl.SSLContext:
        """For a client in Python that trusts this authority and no other."""
        return ssl.create_default_context(cafile=str(self.ca_file))
