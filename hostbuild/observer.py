"""Looks at the project, twice: before anything is made, and after, to see that nothing changed meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hostbuild.bases import NO_BASE, Base, Network, parse_base
from hostbuild.errors import SourceChangedError, ToolMissingError
from hostbuild.model import BuildRequest
from hostbuild.oci.platform import Platform
from hostbuild.plan import Difference, compare, key_of
from hostbuild.project import BuildSubject, Look, look, study
from hostbuild.remembering import SourceMemory
from hostbuild.source import FileDigests
from hostbuild.store.cache import Cache
from hostbuild.workshop import BaseLook, CacheWorkshop

_MEMO_KEY = key_of("tool versions")
#: Bytes that git may write: its status has a line for each file that changed.
_GIT_OUTPUT = 64 * 1024 * 1024


class Observer:
    """Studies one request; remembers what files were, and the versions of tools from run to run.

    With `writes` False nothing of the project is written (hostbuild.lock). `meanwhile` is called, on a
    thread, while a tool works.
    """

    def __init__(
        self,
        request: BuildRequest,
        cache: Cache,
        network: Network,
        *,
        writes: bool = True,
        meanwhile: Callable[[], None] | None = None,
    ) -> None:
        self._request = request
        self._cache = cache
        self._writes = writes
        self._memory = SourceMemory(cache, request.root, anew=request.no_cache, writes=writes)
        self._digests = FileDigests(self._memory.load_index, same_clock=self._memory.same_clock)
        self._bases = _Bases(request, cache, network, writes=writes)
        self._workshop = CacheWorkshop(
            cache, network, anew=request.no_cache, meanwhile=meanwhile, timeout=request.timeout
        )
        self._memo: Mapping[str, str] = {}

    def study(self) -> BuildSubject:
        """What there is to build: see `project.study`, whose errors it raises."""
        self._memo = self._cache.keys.get(_MEMO_KEY) or {}
        subject = self._study()
        new = {**self._memo, **subject.inspection.memo}
        if new != self._memo:
            self._cache.keys.put(_MEMO_KEY, new)
        if self._writes and self._digests.has_news:
            self._memory.save_index(self._digests.export())
            self._digests.has_news = False
        return subject

    def look(self) -> Look:
        """The project and its language: see `project.look`, whose errors it raises."""
        return look(
            self._request,
            digests=self._digests,
            bases=self._bases,
            workshop=self._workshop,
            memo=self._cache.keys.get(_MEMO_KEY) or {},
        )

    def forget(self) -> None:
        """Have every file read again the next time: what was remembered of one may have been wrong."""
        self._memory.discard()

    def _study(self) -> BuildSubject:
        return study(
            self._request,
            digests=self._digests,
            capture=_capture,
            bases=self._bases,
            workshop=self._workshop,
            memo=self._memo,
            memory=self._memory,
        )

    def refuse_changes(self, subject: BuildSubject) -> None:
        """Look again; raise SourceChangedError, naming the first file, if what was built is not there now."""
        now = self._study()
        if now.reads_as(subject):
            return
        difference = compare(subject.files, now.files)
        if difference == Difference():
            return
        self.forget()
        name = next(iter((*difference.changed, *difference.added, *difference.removed)))
        raise SourceChangedError(
            f"{name} was edited while it was being built",
            why=str(difference),
            fix="build again when the source is at rest",
        )


class _Bases:
    """Base images for one request: each name is resolved once, so that both looks see the same."""

    def __init__(self, request: BuildRequest, cache: Cache, network: Network, *, writes: bool) -> None:
        self._request = request
        self._cache = cache
        self._network = network
        self._writes = writes
        self._found: dict[str, Base] = {}

    def resolve(self, text: str, root: str) -> Base:
        """The base that `text` names: see `bases.resolve.resolve_base`, whose errors it raises."""
        if text not in self._found:
            name = parse_base(text)
            if name.kind == "scratch":
                return NO_BASE
            from hostbuild.bases.resolve import Wish, resolve_base

            request = self._request
            wish = Wish(root, request.pull, request.lock, request.locked, self._writes)
            self._found[text] = resolve_base(name, wish, self._cache, self._network)
        return self._found[text]

    def platforms(self, base: Base) -> tuple[Platform, ...]:
        """All Linux platforms that the base has: see `bases.images.platforms_of`, whose errors it raises."""
        from hostbuild.bases.images import platforms_of

        return platforms_of(base, self._cache, self._network)

    def files(self, base: Base, platforms: tuple[Platform, ...]) -> BaseLook:
        """What the base's images hold; nothing is looked at yet."""
        return BaseLook(base, platforms, self._cache, self._network)


def _capture(argv: Sequence[str], cwd: str, environment: Mapping[str, str]) -> str | None:
    from hostbuild.process.command import capture

    try:
        done = capture(argv, cwd=cwd, env=environment, limit=_GIT_OUTPUT)
    except ToolMissingError:
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None
