"""Digests: `algorithm:hex` (image specification, descriptor.md, "Digests")."""

from __future__ import annotations

import re

from hostbuild.errors import InvalidDigestError
from hostbuild.oci.quoting import quote
from hostbuild.records import record

SHA256 = "sha256"
SHA512 = "sha512"

#: The registered algorithms of descriptor.md, with the number of their hex digits.
HEX_LENGTHS = {SHA256: 64, SHA512: 128}

_FIX = "write it as sha256: and 64 digits of 0-9a-f"


@record(order=True, slots=True)
class Digest:
    """The name of some bytes by their content; always of the grammar, so `hex` is safe in a path."""

    algorithm: str
    hex: str

    def __post_init__(self) -> None:
        why = _fault(self.algorithm, self.hex)
        if why:
            raise InvalidDigestError(
                f"{quote(f'{self.algorithm}:{self.hex}')} is not a digest", why=why, fix=_FIX
            )

    @classmethod
    def parse(cls, text: str) -> Digest:
        """The digest that `text` spells. Raises InvalidDigestError."""
        algorithm, colon, encoded = text.partition(":")
        if not colon:
            raise InvalidDigestError(
                f"{quote(text)} is not a digest", why='it has no ":" after an algorithm', fix=_FIX
            )
        return cls(algorithm, encoded)

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """The SHA-256 digest of `data`."""
        from hashlib import sha256

        return cls(SHA256, sha256(data).hexdigest())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def _fault(algorithm: str, encoded: str) -> str:
    length = HEX_LENGTHS.get(algorithm)
    if length is None:
        return f"the algorithm must be {SHA256} or {SHA512}"
    if len(encoded) != length:
        return f"{algorithm} has {length} hex digits, not {len(encoded)}"
    if re.fullmatch("[0-9a-f]+", encoded) is None:
        return "its digits must be 0-9 and a-f, in lower case"
    return ""
