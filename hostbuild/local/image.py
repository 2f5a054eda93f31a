"""One image on this machine: its root, and its blobs by their descriptors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import BinaryIO, Self

from hostbuild.errors import CorruptBlobError, LocalImageError
from hostbuild.local.files import Files
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from hostbuild.oci.json import MAX_DOCUMENT


class LocalImage:
    """An image in a layout or archive; a context manager.

    `root` is the descriptor of its index or manifest, with Docker's media types where it has them. `name`
    is the name that it goes by there, "" for none; it may be a bare tag. Its methods may be called from
    several threads.

    `made` holds documents that do not lie there as files and were made for this image; `locate` gives the
    file of a blob, None for a blob that the image does not have.
    """

    def __init__(
        self,
        files: Files,
        root: Descriptor,
        *,
        name: str,
        locate: Callable[[Digest], str | None],
        made: Mapping[Digest, bytes],
    ) -> None:
        self.root = root
        self.name = name
        self._files = files
        self._locate = locate
        self._made = made

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the archive; streams that were opened before stay usable. May be called twice."""
        self._files.close()

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the blob is here with its size; it is not read."""
        data = self._made.get(descriptor.digest)
        if data is not None:
            return len(data) == descriptor.size
        name = self._locate(descriptor.digest)
        return name is not None and self._files.size(name) == descriptor.size

    def read(self, descriptor: Descriptor) -> bytes:
        """A document's bytes (index, manifest, config), verified by size and digest.

        Raises LocalImageError where it is not here or has more than 4 MiB, CorruptBlobError where it is
        something else than its descriptor says.
        """
        if (data := self._made.get(descriptor.digest)) is None:
            if descriptor.size > MAX_DOCUMENT:
                raise LocalImageError(
                    f"{descriptor.digest} in {self._files.path!r} cannot be read as a document",
                    why=f"it has {descriptor.size} bytes, at most {MAX_DOCUMENT} are read",
                    fix="use another image",
                )
            with self.open(descriptor) as stream:
                data = stream.read(descriptor.size + 1)
        if len(data) != descriptor.size:
            raise self._corrupt(descriptor, len(data))
        if hashlib.new(descriptor.digest.algorithm, data).hexdigest() != descriptor.digest.hex:
            raise self._corrupt(descriptor, None)
        return data

    def open(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        """A blob's bytes from `offset` on; their number was checked, their digest is the reader's business.

        Raises LocalImageError where it is not here, CorruptBlobError where it has another size.
        """
        if (data := self._made.get(descriptor.digest)) is not None:
            from io import BytesIO

            return BytesIO(data[offset:])
        name = self._locate(descriptor.digest)
        if name is None:
            raise self._files.missing(str(descriptor.digest))
        size = self._files.size(name)
        if size is None:
            raise self._files.missing(name)
        if size != descriptor.size:
            raise self._corrupt(descriptor, size)
        return self._files.open(name, offset)

    def _corrupt(self, descriptor: Descriptor, size: int | None) -> CorruptBlobError:
        why = "its bytes have another digest"
        if size is not None:
            why = f"it has {size} bytes, and {descriptor.size} by what refers to it"
        return CorruptBlobError(
            f"blob {descriptor.digest} in {self._files.path!r} is damaged",
            why=why,
            fix="write or copy the image anew",
            digest=str(descriptor.digest),
        )
