"""One index out of images that are in registries already, as native runners pushed them, by digest."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import BinaryIO, NamedTuple

from hostbuild.errors import CorruptBlobError, InvalidValueError, UsageError
from hostbuild.model import Access, EventCallback, ignore_event
from hostbuild.oci.annotations import parse_annotations
from hostbuild.oci.compose import compose_index
from hostbuild.oci.config import ImageConfig
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from hostbuild.oci.index import Index
from hostbuild.oci.manifest import Manifest
from hostbuild.oci.media_types import INDEXES, OCI_CONFIG, translate
from hostbuild.oci.reference import Reference
from hostbuild.records import replace
from hostbuild.registry import Pushed, Registries, Repository, push


class Joined(NamedTuple):
    """An index that was made: its bytes, its digest, and where it was pushed (nowhere in a dry run)."""

    data: bytes
    digest: Digest
    pushed: tuple[Pushed, ...]


def create_index(
    target: str,
    sources: Sequence[str],
    access: Access,
    *,
    tags: Sequence[str] = (),
    annotations: Sequence[str] = (),
    dry_run: bool = False,
    cache_dir: str = "",
    on_event: EventCallback = ignore_event,
) -> Joined:
    """Join `sources` in one index and push it as `target` and `tags`.

    A source is a reference with tag or digest, or a digest alone, which is one in the target's
    repository. An index among them gives all that it names. What another repository has is copied:
    mounted where the registry does it, else through a scratch directory of the cache at `cache_dir` ("" the
    user's), which is opened only then. Raises UsageError, InvalidValueError for two images of one platform,
    StoreError, and the errors of registries.
    """
    if not sources:
        raise UsageError("there is nothing to join", fix="name the images, as registry.example/app@sha256:…")
    first = Reference.parse_tagged(target)
    targets = (first, *(Reference.parse_tagged(tag) for tag in tags))
    wanted = parse_annotations(annotations)
    with ExitStack() as stack, Registries(access, on_event=on_event) as registries:
        content = _Content(partial(_scratch, cache_dir, stack))
        children: list[Descriptor] = []
        for text in sources:
            children += content.children(registries.repository(_source(text, first)))
        data, descriptor = compose_index(_once(children), wanted.index)
        content.documents[descriptor.digest] = data
        pushed = () if dry_run else push(registries, descriptor, content, targets, on_event=on_event)
    return Joined(data, descriptor.digest, tuple(pushed))


def _scratch(cache_dir: str, stack: ExitStack) -> str:
    """A directory of the cache until `stack` is closed; one that a killed process left goes with clean."""
    from hostbuild.settings.load import load_cache
    from hostbuild.store.cache import Cache

    cache = stack.enter_context(Cache(cache_dir or load_cache()[0]))
    return stack.enter_context(cache.scratch())


def _source(text: str, target: Reference) -> Reference:
    digest = text.removeprefix("@")
    if digest.startswith(("sha256:", "sha512:")):
        return target.with_digest(Digest.parse(digest))
    return Reference.parse(text)


def _once(children: Sequence[Descriptor]) -> Iterator[Descriptor]:
    """Each image once: the same one may be named twice, by two tags or in two indexes."""
    seen: set[Digest] = set()
    for child in children:
        if child.digest not in seen:
            seen.add(child.digest)
            yield child


class _Content:
    """What the sources are, for a push: documents here, blobs where they came from."""

    def __init__(self, scratch: Callable[[], str]) -> None:
        self._scratch = scratch
        self._making = threading.Lock()
        self._directory = ""
        self.documents: dict[Digest, bytes] = {}
        self._homes: dict[Digest, Repository] = {}

    def children(self, repository: Repository) -> list[Descriptor]:
        """The manifests that a source gives, each with its platform."""
        reference = repository.reference
        descriptor, data = repository.manifest(str(reference.digest or reference.tag))
        if descriptor.media_type in INDEXES:
            found = []
            for child in Index.decode(data, reference.familiar).manifests:
                _, manifest = repository.manifest(str(child.digest))
                found.append(self._image(repository, child, manifest))
            return found
        return [self._image(repository, descriptor, data)]

    def _image(self, repository: Repository, descriptor: Descriptor, data: bytes) -> Descriptor:
        self.documents[descriptor.digest] = data
        manifest = Manifest.decode(data, f"the manifest {descriptor.digest}")
        for blob in (manifest.config, *manifest.layers):
            self._homes.setdefault(blob.digest, repository)
        if descriptor.platform is not None:
            return descriptor
        if translate(manifest.config.media_type) != OCI_CONFIG:
            raise InvalidValueError(
                f"{repository.reference.familiar} is not a container image",
                why=f"its config is {manifest.config.media_type!r}, so that its platform is not known",
                fix="leave it out",
            )
        config = ImageConfig.decode(self.read(manifest.config), repository.reference.familiar)
        return replace(descriptor, platform=replace(config.platform, extra={}))

    def read(self, descriptor: Descriptor) -> bytes:
        """A document's bytes; a config is fetched when it is asked for."""
        if descriptor.digest not in self.documents:
            with closing(self.open(descriptor, 0)) as stream:
                self.documents[descriptor.digest] = stream.read()
        return self.documents[descriptor.digest]

    def open(self, descriptor: Descriptor, offset: int) -> BinaryIO:
        """A blob from `offset` on, fetched once to a temporary file."""
        with self._making:
            self._directory = self._directory or self._scratch()
        path = os.path.join(self._directory, descriptor.digest.hex)
        if not os.path.exists(path):
            self._fetch(descriptor, path)
        stream = io.BufferedReader(io.FileIO(path))
        stream.seek(offset)
        return stream

    def _fetch(self, descriptor: Descriptor, path: str) -> None:
        """Verified before it has its name: a push may open it again, after a break."""
        home = self._homes[descriptor.digest]
        hasher = hashlib.new(descriptor.digest.algorithm)
        with open(f"{path}.part", "wb") as stream:

            def write(data: bytes | memoryview) -> None:
                hasher.update(data)
                stream.write(data)

            home.fetch(descriptor, write)
        if hasher.hexdigest() != descriptor.digest.hex:
            raise CorruptBlobError(
                f"blob {descriptor.digest} is not what was expected",
                why=f"bytes with the digest {hasher.hexdigest()} came from {home.reference.name}",
                fix="try again; if it happens again, that registry's image is damaged",
            )
        os.rename(f"{path}.part", path)

    def origins(self, descriptor: Descriptor) -> tuple[Reference, ...]:
        """The repository that has a blob."""
        home = self._homes.get(descriptor.digest)
        return (home.reference,) if home else ()
