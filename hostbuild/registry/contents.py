"""What a push has to bring: the manifests below a root, children before parents, and the blobs that they
name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

from hostbuild.errors import CorruptBlobError, InvalidDocumentError
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from hostbuild.oci.index import Index
from hostbuild.oci.json import MAX_DOCUMENT
from hostbuild.oci.manifest import Manifest
from hostbuild.oci.media_types import INDEXES, MANIFESTS
from hostbuild.registry.digests import digest_of
from hostbuild.registry.fetching import FOREIGN

#: Indexes in each other, and manifests in all, that are pushed.
MAX_LEVELS = 8
MAX_MANIFESTS = 10_000


class Blob(NamedTuple):
    """A config (small, read whole) or a layer."""

    descriptor: Descriptor
    config: bool


class Node(NamedTuple):
    """One manifest or index: its bytes, its blobs, and the manifests that it lists."""

    descriptor: Descriptor
    data: bytes
    blobs: tuple[Blob, ...]
    children: tuple[Digest, ...]
    level: int  # 0 for what lists no manifests


class Contents:
    """All that a root names, each once, verified by size and digest.

    Raises InvalidDocumentError for what is no manifest, or says that it is of another kind than its
    descriptor does; CorruptBlobError for bytes that are not the descriptor's; and what `read` raises.
    """

    def __init__(self, root: Descriptor, read: Callable[[Descriptor], bytes]) -> None:
        self._read = read
        self._nodes: dict[Digest, Node] = {}
        self.root = self._add(root, MAX_LEVELS)

    def _add(self, descriptor: Descriptor, levels: int) -> Node:
        known = self._nodes.get(descriptor.digest)
        if known is not None:
            if known.descriptor.size != descriptor.size:
                raise _corrupt(descriptor, known.descriptor.size)
            return known
        if not levels or len(self._nodes) >= MAX_MANIFESTS:
            raise InvalidDocumentError(
                f"{descriptor.digest} cannot be pushed",
                why=f"an index may hold {MAX_LEVELS} levels and {MAX_MANIFESTS} manifests",
                fix="the image is damaged: use another one, or have it built again",
            )
        data = read_verified(descriptor, self._read)
        blobs: tuple[Blob, ...] = ()
        children: list[Node] = []
        if descriptor.media_type in INDEXES:
            index = Index.decode(data, str(descriptor.digest))
            _check_kind(descriptor, index.media_type)
            children = [self._add(child, levels - 1) for child in index.manifests]
        elif descriptor.media_type in MANIFESTS:
            manifest = Manifest.decode(data, str(descriptor.digest))
            _check_kind(descriptor, manifest.media_type)
            layers = [Blob(layer, False) for layer in manifest.layers if not _is_elsewhere(layer)]
            blobs = (Blob(manifest.config, True), *layers)
        level = max((child.level + 1 for child in children), default=0)
        digests = tuple(dict.fromkeys(child.descriptor.digest for child in children))
        node = Node(descriptor, data, blobs, digests, level)
        self._nodes[descriptor.digest] = node
        return node

    def children(self) -> tuple[Node, ...]:
        """Every manifest and index except the root."""
        return tuple(node for node in self._nodes.values() if node is not self.root)

    def missing(self, present: Collection[Digest]) -> tuple[Node, ...]:
        """What remains when the manifests `present`, and so all that they name, are there; children before
        parents.
        """
        found: dict[Digest, Node] = {}

        def visit(node: Node) -> None:
            if node.descriptor.digest in present or node.descriptor.digest in found:
                return
            for child in node.children:
                visit(self._nodes[child])
            found[node.descriptor.digest] = node

        visit(self.root)
        return tuple(found.values())


def blobs_of(nodes: Collection[Node]) -> tuple[Blob, ...]:
    """The blobs of these manifests, each once. Raises InvalidDocumentError when one has two sizes."""
    found: dict[Digest, Blob] = {}
    for node in nodes:
        for blob in node.blobs:
            first = found.setdefault(blob.descriptor.digest, blob)
            if first.descriptor.size != blob.descriptor.size:
                raise InvalidDocumentError(
                    f"blob {blob.descriptor.digest} cannot be pushed",
                    why=f"manifests say that it has {first.descriptor.size} and {blob.descriptor.size} bytes",
                    fix="the image is damaged: use another one, or have it built again",
                )
    return tuple(found.values())


def read_verified(descriptor: Descriptor, read: Callable[[Descriptor], bytes]) -> bytes:
    """What `read` gives, if it is what the descriptor says; at most 4 MiB. Raises as `Contents` does."""
    if descriptor.size > MAX_DOCUMENT:
        raise InvalidDocumentError(
            f"{descriptor.digest} cannot be pushed",
            why=f"it has {descriptor.size} bytes, registries must take {MAX_DOCUMENT}, not more",
            fix="use fewer platforms, or fewer and shorter annotations",
        )
    data = read(descriptor)
    if len(data) != descriptor.size or digest_of(data, descriptor.digest.algorithm) != descriptor.digest:
        raise _corrupt(descriptor, len(data))
    return data


def _is_elsewhere(layer: Descriptor) -> bool:
    """A foreign ("non-distributable") layer that says where it is: it may not be pushed, and need not."""
    return layer.media_type in FOREIGN and bool(layer.extra.get("urls"))


def _check_kind(descriptor: Descriptor, own: str) -> None:
    if own and own != descriptor.media_type:
        raise InvalidDocumentError(
            f"{descriptor.digest} cannot be pushed",
            why=f"its descriptor says that it is {descriptor.media_type}, itself that it is {own}",
            fix="the image is damaged: use another one, or have it built again",
        )


def _corrupt(descriptor: Descriptor, size: int) -> CorruptBlobError:
    return CorruptBlobError(
        f"{descriptor.digest} is not what was expected",
        why=f"{size} bytes are there, {descriptor.size} with that digest were to be",
        fix="build again, or use another copy of the image",
        digest=str(descriptor.digest),
    )
