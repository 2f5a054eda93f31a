"""The certificate authorities that an image without a base gets, at both well-known paths.

They are Mozilla's list as the `certifi` package carries it: the same bytes on any machine with the same
certifi, whatever the machine itself trusts. The bundle's digest is part of the layer's key.
"""

from __future__ import annotations

import os

from hostbuild.errors import StoreError
from hostbuild.model import Entry

#: The two places that knative func uses; Go's crypto/x509, OpenSSL and others look into the latter first.
PATHS = ("etc/pki/tls/certs/ca-certificates.crt", "etc/ssl/certs/ca-certificates.crt")


def bundle_path() -> str:
    """The bundle's path on this machine. Raises StoreError where certifi lacks it."""
    from importlib.util import find_spec  # importing certifi itself costs ten times as much

    spec = find_spec("certifi")
    if spec is None or spec.origin is None:
        raise StoreError("the certifi package is not installed", fix="pip install certifi")
    path = os.path.join(os.path.dirname(spec.origin), "cacert.pem")
    if not os.path.isfile(path):
        raise StoreError(
            "the certifi package holds no cacert.pem", fix="pip install --force-reinstall certifi"
        )
    return path


def certificate_entries(path: str, digest: str) -> tuple[Entry, ...]:
    """Both entries for the bundle at `path` with this SHA-256 (hex), owned by root, mode 0644."""
    size = os.path.getsize(path)
    return tuple(
        Entry(
            path=name,
            kind="file",
            mode=0o644,
            size=size,
            open=lambda: open(path, "rb", buffering=0),
            digest=digest,
            origin=path,
        )
        for name in PATHS
    )
