"""Files that a user names for registries: looked at before anything is done, not when first needed."""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat

from hostbuild.errors import SettingsError

#: Bytes that are read: a system's whole bundle has a quarter of a million.
_LIMIT = 1 << 24
_BLOCK = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----(.*?)-----END", re.DOTALL)
_SEQUENCE = b"\x30"  # what a certificate begins with in DER (X.690)


def check_authorities(path: str) -> None:
    """See that a CA file can be read and holds certificates in PEM form; "" is none.

    A pipe can be read once only, and is left to who needs it. Raises SettingsError.
    """
    if not path:
        return
    fix = "name a file of certificates in PEM form (-----BEGIN CERTIFICATE-----)"
    try:
        if _is_pipe(path):
            return
        with open(path, "rb") as stream:
            data = stream.read(_LIMIT)
    except OSError as error:
        raise SettingsError(
            f"--ca-file: {path!r} cannot be read", why=(error.strerror or str(error)).lower(), fix=fix
        ) from None
    blocks = _BLOCK.findall(data)
    if blocks and all(_is_whole(block) for block in blocks):
        return
    if blocks:
        why = "a certificate in it is damaged"
    elif b"PRIVATE KEY-----" in data:
        why = "it holds a private key, which is the server's own affair"
    elif data.startswith(_SEQUENCE):
        why = "it seems to be in DER form"
        fix = f"convert it: openssl x509 -inform der -in {path} -out ca.pem"
    else:
        why = "there is no certificate in it" if data else "it is empty"
    raise SettingsError(f"--ca-file: {path!r} names no authority to trust", why=why, fix=fix)


def _is_whole(block: bytes) -> bool:
    try:
        return base64.b64decode(b"".join(block.split()), validate=True).startswith(_SEQUENCE)
    except binascii.Error:
        return False


def _is_pipe(path: str) -> bool:
    """Whether it is one; opened and closed here, its writer would find nobody to write to."""
    return stat.S_ISFIFO(os.stat(path).st_mode)


def check_logins(path: str) -> None:
    """See that a file of logins is there and can be read; "" is none. Raises SettingsError."""
    if not path:
        return
    why = "it is a directory" if os.path.isdir(path) else ""
    try:
        if not why and not _is_pipe(path):
            os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        why = (error.strerror or str(error)).lower()
    if why:
        raise SettingsError(
            f"--authfile: {path!r} cannot be read",
            why=why,
            fix="name a file that `hostbuild login --authfile FILE` or docker wrote, or leave --authfile out",
        )
