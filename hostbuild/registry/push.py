"""Pushing an image or index, with all that it names, to one or more references.

The order, so that no reader can see half of an image: blobs, manifests, indexes, the root by its digest, tags
last. So it is over all repositories too: each is asked what it has first (which needs the login for a push);
of several each then gets one small blob, because some registries show only then that this login may not
push; then all get all blobs and manifests; and the root and tags come when everything else is everywhere.
What is there already is not sent: a tag that names the root ends it (ping, token, HEAD); so does the root by
its digest, but for the tags; a child manifest that is there saves its blobs' questions.

Foreign ("non-distributable") layers whose descriptors have `urls` are not pushed: those who may have them
fetch them there.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple, Protocol

from hostbuild.crew import Crew
from hostbuild.errors import HostbuildError, UsageError
from hostbuild.model import Event, EventCallback, ignore_event
from hostbuild.points import reach
from hostbuild.registry.contents import Blob, Contents, Node, blobs_of, read_verified
from hostbuild.registry.progress import STEP, Progress, short, summary, watched
from hostbuild.registry.referrers import subject_of

if TYPE_CHECKING:
    from hostbuild.oci.descriptor import Descriptor
    from hostbuild.oci.digest import Digest
    from hostbuild.oci.reference import Reference
    from hostbuild.registry.bodies import Opener
    from hostbuild.registry.client import Registries, Repository

#: Bytes of a config that is read whole; a larger one is streamed as a layer is.
_SMALL = 4 * 1024 * 1024


class PushContent(Protocol):
    """Where a push takes an image from."""

    def read(self, descriptor: Descriptor) -> bytes:
        """An index, a manifest or a config, whole."""

    def open(self, descriptor: Descriptor, offset: int) -> BinaryIO:
        """A blob's bytes from `offset` on; may first have to fetch it. Called by several threads."""

    def origins(self, descriptor: Descriptor) -> tuple[Reference, ...]:
        """Repositories that are known to have the blob: on the same registry it is mounted from there."""


class Pushed(NamedTuple):
    """What became of one reference: `status` "present" when nothing had to be done.

    `bytes_sent` are the blobs' bytes, those sent again included, counted at the first reference of a
    repository.
    """

    reference: Reference
    digest: Digest
    status: Literal["present", "pushed"]
    bytes_sent: int


def push(
    registries: Registries,
    root: Descriptor,
    content: PushContent,
    references: Sequence[Reference],
    *,
    by_digest: bool = False,
    parallel: int = 4,
    on_event: EventCallback = ignore_event,
) -> tuple[Pushed, ...]:
    """Have `root` under every reference: its tag, or (`by_digest`, or a reference with a digest) its digest
    only.

    References of one repository share one upload; a repository's blobs are mounted from one that was pushed
    to before on the same registry, and from their origins. At most `parallel` blobs at once. No tag is set
    anywhere before all repositories have all blobs. The first error stops the rest and is raised; its `why`
    and `extra["published"]` say which references were published by then (of an interruption, a `warning`
    event does). After an error `registries` may be closed. Results are in the references' order.

    Events: `start` and `done` of the step "push" for each repository (data of `done`: name, digest, `sent`
    in bytes, `seconds`, and how many blobs were `uploaded`, `mounted`, `present`), `progress`, and `done` of
    the step "blob" for each blob with digest, size and status (present, mounted, uploaded).

    Raises UsageError for a reference that names another digest, InvalidDocumentError and CorruptBlobError for
    content that is not what it says, RegistryError, UnreachableError, and what `content` raises.
    """
    emit = registries.one_at_a_time(on_event)
    for reference in references:
        if reference.digest is not None and reference.digest != root.digest:
            raise UsageError(
                f"the image cannot be pushed to {reference}",
                why=f"its digest is {root.digest}",
                fix="leave the digest out, or name the right one",
            )
    groups: dict[tuple[str, str], list[Reference]] = {}
    for reference in references:
        groups.setdefault((reference.registry, reference.repository), []).append(reference)
    earlier: list[Reference] = []
    contents = _Late(root, content)
    targets: list[_RepositoryPush] = []
    for group in groups.values():
        targets.append(
            _RepositoryPush(
                registries,
                group,
                root=root,
                content=content,
                contents=contents,
                emit=emit,
                parallel=parallel,
                by_digest=by_digest,
                earlier=tuple(earlier),
            )
        )
        earlier.append(group[0])
    published: list[str] = []
    try:
        results = _in_order(targets, published)
    except HostbuildError as error:
        if published or len(targets) > 1:
            error.why = "; ".join([*([error.why] if error.why else []), _standing(published)])
            error.extra["published"] = published
        raise
    except BaseException:
        if published:
            words = f"the push was interrupted; {_standing(published)}"
            emit(Event("warning", words, data={"published": published}))
        raise
    return tuple(results[reference] for reference in references)


def _in_order(targets: Sequence[_RepositoryPush], published: list[str]) -> dict[Reference, Pushed]:
    """Each step in all repositories before the next one; what is published is noted in `published`."""
    for target in targets:
        target.look()
    if len(targets) > 1:
        for target in targets:
            target.push_smallest()
    for target in targets:
        target.push_contents()
    results: dict[Reference, Pushed] = {}
    for target in targets:
        results.update(target.publish(published))
    return results


def _standing(published: list[str]) -> str:
    """What stands although the push failed."""
    if not published:
        return "nothing was published"
    return f"published before that, and left as it is: {', '.join(published)}"


class _Late:
    """The contents, read when the first repository needs them: a push with nothing to do reads nothing."""

    def __init__(self, root: Descriptor, content: PushContent) -> None:
        self._root = root
        self._content = content
        self._contents: Contents | None = None

    def get(self) -> Contents:
        if self._contents is None:
            self._contents = Contents(self._root, self._content.read)
        return self._contents


class _RepositoryPush:
    """All references of one repository."""

    def __init__(
        self,
        registries: Registries,
        references: Sequence[Reference],
        *,
        root: Descriptor,
        content: PushContent,
        contents: _Late,
        emit: EventCallback,
        parallel: int,
        by_digest: bool,
        earlier: tuple[Reference, ...],
    ) -> None:
        self._repository: Repository = registries.repository(references[0])
        self._name = references[0].familiar_name
        self._registry = references[0].registry
        self._root = root
        self._content = content
        self._contents = contents
        self._emit = emit
        self._stop = threading.Event()
        self._crew = Crew(parallel, self._stop, registries.close)
        self._earlier = earlier
        self._references = tuple(references)
        self._by_digest = by_digest
        self._missing: list[str] = []  # tags, and the digest, that are to be put
        self._complete = False  # whether the root is there, and so all that it names
        self._nodes: tuple[Node, ...] = ()
        self._blobs: list[Blob] = []
        self._progress = Progress(0, emit)
        self._done: list[str] = []  # what became of each blob
        self._begun = 0.0
        self._announced = False

    def _identifier(self, reference: Reference) -> str:
        by_digest = self._by_digest or reference.digest is not None or not reference.tag
        return str(self._root.digest) if by_digest else reference.tag

    def look(self) -> None:
        """Ask which references are there; the first request to the registry, with the login for a push."""
        wanted = dict.fromkeys(self._identifier(reference) for reference in self._references)
        self._missing = [name for name in wanted if not self._repository.holds(name, self._root)]
        digest = str(self._root.digest)
        self._complete = len(self._missing) < len(wanted) or (
            digest not in wanted and self._repository.holds(digest, self._root)
        )
        if self._complete:
            if list(wanted) == [digest] and self._has_subject():
                self._missing = [digest]
            return
        contents = self._contents.get()
        self._nodes = contents.missing(self._present(contents.children()))
        # The largest first: it is what the end waits for.
        self._blobs = sorted(blobs_of(self._nodes), key=lambda blob: -blob.descriptor.size)
        total = sum(blob.descriptor.size for blob in self._blobs)
        self._progress = Progress(total, self._tell)

    def _has_subject(self) -> bool:
        """Whether the root refers to something: without a tag nothing says that it is listed there."""
        return subject_of(read_verified(self._root, self._content.read), self._root.media_type) is not None

    def push_smallest(self) -> None:
        """One small blob, so that a registry that refuses pushes does so before others were sent much."""
        if self._blobs:
            self._begun = time.monotonic()
            self._push_blob(self._blobs.pop())

    def push_contents(self) -> None:
        """Everything except the root: blobs, then children before parents."""
        if not self._missing or self._complete:
            return
        self._begin()
        self._crew.run(partial(self._push_blob, blob) for blob in self._blobs)
        below = [node for node in self._nodes if node.descriptor.digest != self._root.digest]
        for level in sorted({node.level for node in below}):
            self._crew.run(partial(self._put, node) for node in below if node.level == level)

    def publish(self, published: list[str]) -> dict[Reference, Pushed]:
        """The root by its digest, then the tags; each goes to `published`. What became of each reference."""
        digest = str(self._root.digest)
        if self._missing:
            self._begin()
            data = read_verified(self._root, self._content.read)
            reach("push-before-root")
            # One with a subject is put again: who was killed after it may not have listed it. A tag that is
            # there says that it is listed; without any it is put each time.
            if not self._complete or subject_of(data, self._root.media_type) is not None:
                self._repository.put_manifest(digest, data, self._root.media_type)
            if digest in self._missing:
                published.append(f"{self._name}@{digest}")
            for tag in self._missing:
                if tag != digest:
                    reach("tag-before-put")
                    self._repository.put_manifest(tag, data, self._root.media_type)
                    published.append(f"{self._name}:{tag}")
                    reach("tag-after-put")
            self._finish()
        sent = self._progress.sent
        results = {}
        for reference in self._references:
            pushed = self._identifier(reference) in self._missing
            results[reference] = Pushed(reference, self._root.digest, "pushed" if pushed else "present", sent)
            sent = 0
        return results

    def _begin(self) -> None:
        """Say that it begins, once."""
        if not self._announced:
            self._announced = True
            self._begun = self._begun or time.monotonic()
            self._emit(Event("start", f"pushing to {self._name}", data={"step": STEP, "name": self._name}))

    def _tell(self, event: Event) -> None:
        """Progress, which makes no sense before the start was told."""
        if self._announced:
            self._emit(event)

    def _finish(self) -> None:
        seconds = time.monotonic() - self._begun
        counts = {status: self._done.count(status) for status in ("uploaded", "mounted", "present")}
        self._emit(
            Event(
                "done",
                f"pushed {self._name}: {summary(counts, self._progress.sent)}, in {seconds:.1f} s",
                data={
                    "step": STEP,
                    "name": self._name,
                    "digest": str(self._root.digest),
                    "sent": self._progress.sent,
                    "seconds": round(seconds, 3),
                    **counts,
                },
            )
        )

    def _present(self, nodes: Sequence[Node]) -> frozenset[Digest]:
        """Those manifests that the repository has: a registry has what its manifests name."""
        found: set[Digest] = set()

        def ask(node: Node) -> None:
            if self._repository.holds(str(node.descriptor.digest), node.descriptor):
                found.add(node.descriptor.digest)

        self._crew.run(partial(ask, node) for node in nodes)
        return frozenset(found)

    def _put(self, node: Node) -> None:
        descriptor = node.descriptor
        self._repository.put_manifest(str(descriptor.digest), node.data, descriptor.media_type)

    def _push_blob(self, blob: Blob) -> None:
        descriptor, progress = blob.descriptor, self._progress
        opener = watched(self._opener(blob), descriptor.digest, progress, self._stop)
        status = self._repository.push_blob(descriptor, opener, mount_from=self._sources(descriptor))
        progress.complete(descriptor)
        self._done.append(status)
        self._emit(
            Event(
                "done",
                f"{status} {short(descriptor.digest)}",
                data={
                    "step": "blob",
                    "digest": str(descriptor.digest),
                    "size": descriptor.size,
                    "status": status,
                },
            )
        )

    def _opener(self, blob: Blob) -> Opener:
        """Configs are read whole, as content gives them, and verified; layers are streamed."""
        if blob.config and blob.descriptor.size <= _SMALL:
            read: Callable[[], bytes] = partial(read_verified, blob.descriptor, self._content.read)
            return lambda offset: io.BytesIO(read()[offset:])
        return partial(self._content.open, blob.descriptor)

    def _sources(self, descriptor: Descriptor) -> tuple[str, ...]:
        known = (*self._earlier, *self._content.origins(descriptor))
        return tuple(
            dict.fromkeys(reference.repository for reference in known if reference.registry == self._registry)
        )
