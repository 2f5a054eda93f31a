"""Whose fault a wrong digest is: what was sent is read again, before somebody else is blamed."""

from __future__ import annotations

import hashlib

from hostbuild.errors import CorruptBlobError
from hostbuild.http.bodies import PIECE
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from hostbuild.registry.bodies import Opener, PartBody


def check_blob(descriptor: Descriptor, opener: Opener) -> None:
    """Read the blob once, in constant memory. Raises CorruptBlobError where its bytes have another digest,
    and as `PartBody`.
    """
    hasher = hashlib.new(descriptor.digest.algorithm)
    with PartBody(descriptor, opener, 0, descriptor.size).open(0) as stream:
        while piece := stream.read(PIECE):
            hasher.update(piece)
    found = Digest(descriptor.digest.algorithm, hasher.hexdigest())
    if found != descriptor.digest:
        raise CorruptBlobError(
            f"blob {descriptor.digest} is not what it says: its bytes have the digest {found}",
            fix="write or copy the image anew, or build it again",
            digest=str(descriptor.digest),
        )
