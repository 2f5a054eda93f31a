"""Looks at the project, twice: before anything is made, and after, to see that nothing changed meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hostbuild.errors import SourceChangedError, ToolMissingError
from hostbuild.model import BuildRequest
from hostbuild.plan import Difference, compare, key_of
from hostbuild.project import BuildSubject, study
from hostbuild.source import FileDigests
from hostbuild.store.cache import Cache

_MEMO_KEY = key_of("tool versions")


class Observer:
    """Studies one request; remembers what files were, and the versions of tools from run to run."""

    def __init__(self, request: BuildRequest, cache: Cache) -> None:
        self._request = request
        self._cache = cache
        self._digests = FileDigests()
        self._memo: Mapping[str, str] = {}

    def study(self) -> BuildSubject:
        """What there is to build: see `project.study`, whose errors it raises."""
        self._memo = self._cache.keys.get(_MEMO_KEY) or {}
        subject = study(self._request, digests=self._digests, capture=_capture, memo=self._memo)
        new = {**self._memo, **subject.inspection.memo}
        if new != self._memo:
            self._cache.keys.put(_MEMO_KEY, new)
        return subject

    def refuse_changes(self, subject: BuildSubject) -> None:
        """Look again; raise SourceChangedError, naming the first file, if what was built is not there now."""
        now = study(self._request, digests=self._digests, capture=_capture, memo=self._memo)
        difference = compare(subject.files, now.files)
        if difference == Difference():
            return
        name = next(iter((*difference.changed, *difference.added, *difference.removed)))
        raise SourceChangedError(
            f"{name} was edited while it was being built",
            why=str(difference),
            fix="build again when the source is at rest",
        )


def _capture(argv: Sequence[str], cwd: str, environment: Mapping[str, str]) -> str | None:
    from hostbuild.process.command import capture

    try:
        done = capture(argv, cwd=cwd, env=environment)
    except ToolMissingError:
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None
