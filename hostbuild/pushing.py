"""Pushing: what a build gave, or an image that lies on this machine, to the registries that were named."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, BinaryIO

from hostbuild.bases import NO_BASE, Base, Network, parse_base
from hostbuild.errors import CorruptBlobError, SourceError, UsageError
from hostbuild.local import guess_kind, open_local
from hostbuild.model import Access, BuildResult, Event, EventCallback, ignore_event
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from hostbuild.oci.media_types import OCI_INDEX
from hostbuild.oci.reference import Reference
from hostbuild.registry import Pushed, push
from hostbuild.store.builds import BuildDir
from hostbuild.store.cache import Cache

if TYPE_CHECKING:
    from hostbuild.bases.layers import BaseLayers
    from hostbuild.local import LocalImage
    from hostbuild.project import BuildSubject


def push_result(
    result: BuildResult, subject: BuildSubject, cache: Cache, network: Network
) -> tuple[Pushed, ...]:
    """Push what a build gave to every reference that its outputs name; nothing where none is to be pushed.

    Raises the errors of registries; what was pushed before one stays, and no tag names half an image.
    """
    outputs = [output for output in subject.request.outputs if output.push]
    if not outputs:
        return ()
    root = Descriptor(OCI_INDEX, Digest.parse(result.index_digest), result.index_size)
    done: list[Pushed] = []
    with ExitStack() as stack:
        image = stack.enter_context(open_local("oci", f"{result.layout}@{result.index_digest}"))
        base_layers = {
            layer.digest for each in result.platforms for layer in each.layers if layer.why == "base"
        }
        content = _Content(image, base_layers, _origins(result.base))
        if result.absent:
            from hostbuild.bases.layers import BaseLayers

            content.below = stack.enter_context(BaseLayers(subject.base, cache, network))
        for by_digest in (False, True):
            named = [output for output in outputs if output.by_digest == by_digest]
            targets = dict.fromkeys(
                target
                for output in named
                for target in (map(Reference.parse, output.names) if output.names else subject.references)
            )
            if targets:
                pushed = push(
                    network.registries,
                    root,
                    content,
                    tuple(targets),
                    by_digest=by_digest,
                    on_event=network.on_event,
                )
                _tell(pushed, network.on_event, by_digest=by_digest)
                done += pushed
    return tuple(done)


def check_targets(subject: BuildSubject, network: Network) -> None:
    """Ask each registry that the result is to go to, before minutes are spent on it.

    Raises AuthenticationError, UnreachableError, TlsError and the other errors of registries.
    """
    nothing = Descriptor(OCI_INDEX, Digest.of(b""), 0)
    for target in {each.name: each for each in subject.push_targets}.values():
        network.repository(target).holds(target.tag or str(target.digest), nothing)


def push_place(
    place: str,
    references: Sequence[str],
    access: Access,
    *,
    by_digest: bool = False,
    cache_dir: str = "",
    on_event: EventCallback = ignore_event,
) -> tuple[Pushed, ...]:
    """Push what lies at `place` (a source directory that was built, a layout, an archive) to `references`.

    Of a source directory it is the build that was made or used last. Where that is a sparse one, a layer
    of its base that cannot be mounted is fetched into the cache at `cache_dir` ("": the default one).
    Raises UsageError, SourceError for a directory that holds neither, LocalImageError, StoreError, and the
    errors of registries.
    """
    if not references:
        raise UsageError(
            f"{place!r} is to be pushed, and no name is given", fix="add one, as registry.example/team/app:v1"
        )
    targets = tuple(
        Reference.parse(text) if by_digest else Reference.parse_tagged(text) for text in references
    )
    with (
        _naming(place),
        Network(access, on_event) as network,
        _image_at(place, cache_dir, network) as content,
    ):
        done = push(
            network.registries,
            content.image.root,
            content,
            targets,
            by_digest=by_digest,
            on_event=network.on_event,
        )
    _tell(done, on_event, by_digest=by_digest)
    return tuple(done)


@contextmanager
def _naming(place: str) -> Iterator[None]:
    """What is found damaged on the way is damaged here."""
    try:
        yield
    except CorruptBlobError as error:
        if repr(place) not in error.what:
            error.what = f"{place!r} is damaged: {error.what}"
        raise


@contextmanager
def _image_at(place: str, cache_dir: str, network: Network) -> Iterator[_Content]:
    builds = BuildDir(os.path.join(place, ".func"))
    if os.path.isdir(place) and not os.path.lexists(os.path.join(place, "oci-layout")):
        build_id = builds.newest()
        if build_id is None:
            raise SourceError(
                f"there is nothing to push in {place!r}",
                why="it is no image layout, and no complete build is in it",
                fix=f"run: hostbuild build {place}",
            )
        from hostbuild.record import read_record
        from hostbuild.settings.load import default_cache_dir
        from hostbuild.store.record import why_incomplete
        from hostbuild.store.seals import open_seal

        with ExitStack() as stack:
            if pin := builds.pin(build_id):
                stack.enter_context(pin)
            directory = builds.places.build(build_id)
            root = cache_dir or default_cache_dir(network.access.environment)
            if why := why_incomplete(directory, build_id, sparse=True, seal=open_seal(root, create=False)):
                # A checkout can bring a build along, and a pipeline hand one on: only people can tell.
                network.on_event(
                    Event("warning", f"the build in {place!r} is pushed as it was found, unverified: {why}")
                )
            record = read_record(directory)
            digest = str(record["index"]["digest"])
            image = stack.enter_context(open_local("oci", os.path.join(directory, "oci") + f"@{digest}"))
            base = str(record["base"]["name"])
            content = _Content(image, _base_layers(record), _origins(base))
            if not all(blob["here"] for blob in record["blobs"]):
                from hostbuild.bases.layers import BaseLayers

                cache = stack.enter_context(Cache(root))
                below = Base(parse_base(base), "", str(record["base"]["digest"]))
                content.below = stack.enter_context(BaseLayers(below, cache, network))
            yield content
        return
    with open_local(guess_kind(place), place) as image:
        yield _Content(image, frozenset(), ())


def _base_layers(record: Mapping[str, object]) -> set[str]:
    platforms = record.get("platforms")
    return {
        str(layer["digest"])
        for platform in (platforms if isinstance(platforms, list) else [])
        for layer in platform["layers"]
        if layer["why"] == "base"
    }


def _origins(base: str) -> tuple[Reference, ...]:
    """The repository that has the base's layers, where they lie in a registry."""
    name = parse_base(base) if base else NO_BASE.source
    return (name.reference,) if name.kind == "registry" else ()


class _Content:
    """The image to push; where a sparse layout lacks a layer of the base, it is fetched when it is needed."""

    def __init__(
        self, image: LocalImage, base_layers: frozenset[str] | set[str], base: tuple[Reference, ...]
    ):
        self.image = image
        self.below: BaseLayers | None = None
        self._base_layers = base_layers
        self._base = base

    def read(self, descriptor: Descriptor) -> bytes:
        """A document: its bytes, verified."""
        return self.image.read(descriptor)

    def open(self, descriptor: Descriptor, offset: int) -> BinaryIO:
        """A blob from `offset` on."""
        if self.below is None or self.image.has(descriptor):
            return self.image.open(descriptor, offset)
        return self.below.open(descriptor, offset)

    def origins(self, descriptor: Descriptor) -> tuple[Reference, ...]:
        """Where else a blob is."""
        return self._base if str(descriptor.digest) in self._base_layers else ()


def _tell(done: Sequence[Pushed], on_event: EventCallback, *, by_digest: bool) -> None:
    for each in done:
        name = each.reference.familiar_name if by_digest else each.reference.familiar
        words = f"{name} is there already" if each.status == "present" else f"{name} is there now"
        data = {
            "step": "pushed",
            "reference": str(each.reference),
            "digest": str(each.digest),
            "sent": each.bytes_sent,
        }
        on_event(Event("info", words, data=data))
