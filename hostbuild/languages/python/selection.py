"""From a lock to the exact files, for each target: one wheel a package, by the target's markers and tags.

Sources: packaging.python.org, "pylock.toml Specification" (Installation), "Platform compatibility tags" and
"Binary distribution format" (build tags).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from hostbuild.errors import DependenciesError, UsageError
from hostbuild.languages.python.lockfile import STAND_IN, Lock, with_stand_in
from hostbuild.languages.python.tagnames import explain_gap
from hostbuild.languages.python.values import Archive, Gap, LocalBuild, Missing, Selected, Selection
from hostbuild.records import replace

if TYPE_CHECKING:
    from packaging.markers import Environment
    from packaging.pylock import Package, PackageArchive, PackageSdist, PackageWheel, Pylock
    from packaging.tags import Tag

    from hostbuild.wheels.target import Target


def select(lock: Lock, targets: Sequence[Target], *, root: str) -> Selection:
    """The files of each target out of a lock whose relative paths begin at `root`.

    Raises DependenciesError for a target that the lock does not cover, for packages that come from version
    control or without a SHA-256, and for files whose hash the requirements do not allow; UsageError for an
    extra or a group that the lock does not have. A package without a wheel is no error here: it is in
    `Selection.missing`, for `missing.missing_error`.
    """
    from packaging.pylock import Pylock

    pylock = Pylock.from_dict(_with_stand_ins(lock.document))
    _check_choices(lock, pylock)
    chooser = _Chooser(lock, pylock, root)
    selected = [found for target in targets if (found := chooser.choose(target)) is not None]
    chooser.raise_problems()
    return Selection(tuple(selected), tuple(chooser.missing[key] for key in sorted(chooser.missing)))


def _with_stand_ins(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with a source archive for every package, so that selecting does not end at one."""
    packages = []
    for package in document["packages"]:
        alone = "wheels" in package and "sdist" not in package
        packages.append(with_stand_in(package) if alone else package)
    return {**document, "packages": packages}


def _check_choices(lock: Lock, pylock: Pylock) -> None:
    for kind, wanted, there in (
        ("extra", lock.extras, pylock.extras),
        ("dependency group", lock.groups, pylock.dependency_groups),
    ):
        for name in wanted:
            if name not in (there or ()):
                names = ", ".join(there or ())
                fix = f"it has {names}" if names else f"it was made without any {kind}"
                raise UsageError(f"{lock.label} has no {kind} {name!r}", fix=fix)


class _Candidate(NamedTuple):
    rank: int
    build: tuple[int, str]
    archive: Archive


class _Chooser:
    """Selects for one target after the other, and keeps what is wrong until all have been seen."""

    def __init__(self, lock: Lock, pylock: Pylock, root: str) -> None:
        self._lock = lock
        self._pylock = pylock
        self._root = root
        self.missing: dict[tuple[str, str], Missing] = {}
        self._uncovered: list[str] = []
        self._from_vcs: set[str] = set()
        self._unhashed: set[str] = set()
        self._forbidden: set[str] = set()

    def choose(self, target: Target) -> Selected | None:
        """What the target gets, or None where the lock does not cover it."""
        packages = self._packages(target)
        if packages is None:
            return None
        ranks = {tag: rank for rank, tag in enumerate(target.tags())}
        wheels: list[Archive] = []
        local: list[LocalBuild] = []
        for package in packages:
            if package.vcs is not None:
                self._from_vcs.add(
                    f"{_title(package)}: {package.vcs.type} {package.vcs.url or package.vcs.path}"
                )
            elif package.directory is not None:
                path = os.path.normpath(os.path.join(self._root, package.directory.path))
                editable = bool(package.directory.editable)
                local.append(LocalBuild(package.name, path, package.directory.subdirectory or "", editable))
            elif (wheel := self._wheel(package, ranks)) is not None:
                wheels.append(wheel)
            elif not self._note_refused(package, ranks):
                self._miss(package, target)
        return Selected(target, tuple(sorted(wheels)), tuple(sorted(local)))

    def _packages(self, target: Target) -> list[Package] | None:
        from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
        from packaging.pylock import PylockSelectError

        groups = {*self._lock.groups, *(self._pylock.default_groups or ())}
        try:
            selected = self._pylock.select(
                environment=cast("Environment", target.markers()),
                tags=target.tags(),
                extras=self._lock.extras,
                dependency_groups=groups,
            )
            found = [package for package, _ in selected]
        except (PylockSelectError, UndefinedComparison, UndefinedEnvironmentName) as error:
            self._uncovered.append(f"{_name(target)}: {error}")
            return None
        if not found and self._pylock.packages and not self._was_made_for(target):
            self._uncovered.append(
                f"{_name(target)}: none of its {len(self._pylock.packages)} packages is for it"
            )
            return None
        return found

    def _was_made_for(self, target: Target) -> bool:
        """Whether it is known that nothing being selected means that nothing is needed."""
        from packaging.markers import Marker

        known = [Marker(each) for each in self._lock.environments] or list(self._pylock.environments or ())
        return any(marker.evaluate(target.markers()) for marker in known)

    def _wheel(self, package: Package, ranks: Mapping[Tag, int]) -> Archive | None:
        """The best wheel for the tags of those that may be taken, or None."""
        fitting = []
        for file, filename in _wheel_files(package):
            rank, build = _rank(filename, ranks)
            if rank is not None and (archive := self._archive(package, file, filename)) is not None:
                fitting.append(_Candidate(rank, build, archive))
        if not fitting:
            return None
        best = min(each.rank for each in fitting)
        newest = max(each.build for each in fitting if each.rank == best)
        return next(each.archive for each in fitting if each.rank == best and each.build == newest)

    def _note_refused(self, package: Package, ranks: Mapping[Tag, int]) -> bool:
        """Whether there are wheels that fit and may not be taken, for their hashes; then they are noted."""
        fitting = [each for each in _wheel_files(package) if _rank(each[1], ranks)[0] is not None]
        for file, filename in fitting:
            (self._forbidden if _sha256(file) else self._unhashed).add(f"{_title(package)}: {filename}")
        return bool(fitting)

    def _archive(
        self, package: Package, file: PackageWheel | PackageSdist | PackageArchive, filename: str
    ) -> Archive | None:
        """The file, or None where it has no SHA-256, or not one that is asked for."""
        sha256 = _sha256(file)
        if not sha256 or (self._lock.hashes and sha256 not in self._lock.hashes.get(package.name, ())):
            return None
        url, path = self._place(file.url or "", file.path or "")
        size = file.size if file.size and file.size > 0 else None  # no file of it is empty
        return Archive(package.name, _version(package, filename), filename, url, path, sha256, size)

    def _place(self, url: str, path: str) -> tuple[str, str]:
        from urllib.parse import unquote, urlsplit

        if "\0" in unquote(url + path):
            raise DependenciesError(
                f"{self._lock.label}: {path or url!r} is no place of a file",
                fix="let the tool that wrote the lock write it anew",
            )
        if url.startswith("file:"):
            return "", os.path.normpath(unquote(urlsplit(url).path))
        if path and not url:
            return "", os.path.normpath(os.path.join(self._root, path))
        return url, ""

    def _miss(self, package: Package, target: Target) -> None:
        filenames = tuple(filename for _, filename in _wheel_files(package))
        reason, another_base = explain_gap(filenames, target)
        gap = Gap(
            str(target.platform), target.python, f"{target.libc} {target.libc_version}", reason, another_base
        )
        key = package.name, str(package.version or "")
        known = self.missing.get(key) or Missing(
            *key,
            (),
            tuple(sorted(filenames)),
            self._sdist(package),
            self._lock.unbuildable.get(package.name, ""),
        )
        self.missing[key] = replace(known, gaps=(*known.gaps, gap))

    def _sdist(self, package: Package) -> Archive | None:
        file = package.sdist or package.archive
        if file is None or file.url == STAND_IN:
            return None
        filename = package.sdist.filename if package.sdist else _last_part(file.url or file.path or "")
        return None if filename.endswith(".whl") else self._archive(package, file, filename)

    def raise_problems(self) -> None:
        """Raise DependenciesError for what no report of missing wheels can say."""
        if self._uncovered:
            raise DependenciesError(
                f"{self._lock.label} does not cover every target",
                why="; ".join(self._uncovered),
                fix="lock anew for this Python and these platforms (uv: [tool.uv] environments says which), "
                "or leave the platforms out with --platform",
            )
        if self._from_vcs:
            raise DependenciesError(
                "some packages come from version control",
                why="an image holds wheels that are known by their hash, and a checkout has none",
                fix="take released versions, or URLs of wheels, or checkouts below the project",
                detail="\n".join(sorted(self._from_vcs)),
            )
        if self._forbidden:
            raise DependenciesError(
                "the requirements have hashes, and not those of the files that are needed",
                why="each platform has files of its own, whose hashes must all be there",
                fix="write the hashes of all platforms (uv pip compile --universal --generate-hashes)",
                detail="\n".join(sorted(self._forbidden)),
            )
        if self._unhashed:
            raise DependenciesError(
                f"some files in {self._lock.label} have no SHA-256",
                why="what comes into an image is known by it",
                fix="lock anew with hashes",
                detail="\n".join(sorted(self._unhashed)),
            )


def _sha256(file: PackageWheel | PackageSdist | PackageArchive) -> str:
    """The file's SHA-256 in hex, or "" where the lock has none."""
    found = file.hashes.get("sha256", "").lower()
    return found if re.fullmatch(r"[0-9a-f]{64}", found) else ""


def _wheel_files(package: Package) -> list[tuple[PackageWheel | PackageArchive, str]]:
    found: list[tuple[PackageWheel | PackageArchive, str]] = [
        (each, each.filename) for each in package.wheels or ()
    ]
    if package.archive is not None:
        filename = _last_part(package.archive.url or package.archive.path or "")
        if filename.endswith(".whl"):
            found.append((package.archive, filename))
    return found


def _rank(filename: str, ranks: Mapping[Tag, int]) -> tuple[int | None, tuple[int, str]]:
    """How well a wheel fits (0 is best, None not at all), and its build tag, the higher the newer."""
    from hostbuild.wheels.names import parse_wheel_name

    parsed = parse_wheel_name(filename)
    fitting = [ranks[tag] for tag in parsed.tags if tag in ranks]
    return min(fitting, default=None), parsed.build or (-1, "")


def _version(package: Package, filename: str) -> str:
    if package.version is not None or not filename.endswith(".whl"):
        return str(package.version or "")
    from hostbuild.wheels.names import parse_wheel_name

    return parse_wheel_name(filename).version


def _last_part(location: str) -> str:
    from hostbuild.wheels.names import file_name

    return file_name(location)


def _title(package: Package) -> str:
    return f"{package.name} {package.version}" if package.version else package.name


def _name(target: Target) -> str:
    return f"{target.platform} (Python {target.python})"
