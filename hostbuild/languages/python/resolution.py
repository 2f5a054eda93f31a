"""From what a project asks for to the wheels of each platform, found out once and kept on this machine.

The quick way: the files at the project's top, the variables and the targets are as they were, and so is each
file that was read then. Else everything is read, locked by uv where its inputs changed, and selected anew;
what is only to be had as source is built to a pure wheel; what is missing then is named, all at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hostbuild.errors import DependenciesError, HostbuildError, StoreError
from hostbuild.languages.python.indexes import resolving_variables
from hostbuild.languages.python.source_wheels import SourceWheels
from hostbuild.languages.python.values import Archive
from hostbuild.model import Event
from hostbuild.patterns import late
from hostbuild.records import field, record, replace

if TYPE_CHECKING:
    from hostbuild.languages.base import Workshop
    from hostbuild.languages.python.inputs import Inputs
    from hostbuild.languages.python.lockfile import Lock
    from hostbuild.languages.python.values import LocalBuild, Missing, Selection
    from hostbuild.model import Pairs
    from hostbuild.wheels.target import Target

#: Changes whenever the same lock would give other wheels.
RECIPE = 1

#: Names at a project's top that decide, by their presence or content, what is asked for.
_DECIDING = late(
    r"pyproject\.toml|uv\.lock|uv\.toml|setup\.(?:py|cfg)|pylock(?:\.[^.]+)?\.toml|"
    r"Pipfile(?:\.lock)?|poetry\.lock|environment\.yml|"
    r"(?:requirements|constraints).*\.(?:txt|in)"
)


@record
class Asked:
    """What is to be resolved: a project, the user's choices, and what the language adds.

    `files`, `extras`, `groups` and `package` are those of `inputs.find_inputs`; `further` are requirements
    beside the project's; `alone` takes what the project depends on and not the project itself.
    """

    root: str
    environment: Mapping[str, str] = field(repr=False)
    files: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    package: str = ""
    further: tuple[str, ...] = ()
    alone: bool = False


@record
class Resolution:
    """What each target installs, in the targets' order and sorted by name, and of what that was found out.

    `built` are the wheels of directories, which every target installs too. `files` maps the path of each file
    that decided (relative to the root where it lies below) to its digest.
    """

    wheels: tuple[tuple[Archive, ...], ...]
    files: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    built: tuple[Archive, ...] = ()

    @property
    def all_wheels(self) -> tuple[tuple[Archive, ...], ...]:
        """Of each target, those of directories among them."""
        return tuple((*wheels, *self.built) for wheels in self.wheels)


class Resolver:
    """Resolves one project; `digest_file` gives a file's SHA-256 in hex."""

    def __init__(
        self, asked: Asked, targets: Sequence[Target], workshop: Workshop, digest_file: Callable[[str], str]
    ) -> None:
        self._asked = asked
        self._targets = tuple(targets)
        self._workshop = workshop
        self._digest_file = digest_file
        self._source = SourceWheels(
            asked.environment, workshop, digest_file, inputs=self.inputs, credentials=self.credentials
        )
        self._local: dict[str, str] = {}

    def resolve(self) -> Resolution:
        """What the targets install.

        Raises DependenciesError, MissingWheelsError with all that is missing, OfflineError, ToolMissingError
        where uv is needed and not there, and the errors of indexes.
        """
        quick = self._quick_inputs()
        known = self._workshop.recall(_QUICK, quick)
        if known is not None and (found := self._as_before(known)) is not None:
            return found
        inputs = self.inputs()
        resolved, local, built = self._resolve(inputs)
        files = {each.path: each.digest for each in inputs.files}
        from hostbuild.languages.python.configuration import configuration_files

        for path in configuration_files(inputs, self._asked.environment):
            files[path] = self._digest_file(path)
        warnings = list(resolved.warnings)
        value = {
            "files": [[self._label(path), digest] for path, digest in sorted(files.items())],
            "targets": [[list(wheel) for wheel in wheels] for wheels in resolved.wheels],
            "archives": sorted([self._label(path), sha256] for path, sha256 in self._local.items()),
            "local": [list(each) for each in local],
            "built": built,
            "warnings": warnings,
        }
        self._workshop.remember(_QUICK, quick, lambda: value, anew=known is not None)
        return self._with_local(resolved.wheels, local, dict(files), warnings)

    def credentials(self) -> Pairs:
        """Who we are to the servers that wheels come from."""
        from hostbuild.languages.python.session import credentials_for
        from hostbuild.wheels.credentials import read_netrc

        environment = self._asked.environment
        found = credentials_for(self.inputs(), environment)
        home = environment.get("HOME", "")
        path = environment.get("NETRC") or (os.path.join(home, ".netrc") if home else "")
        if path and os.path.isfile(path):
            found = (*found, *read_netrc(path))
        return found

    def inputs(self) -> Inputs:
        """What the project asks for. Raises DependenciesError and UsageError."""
        from hostbuild.languages.python.inputs import find_inputs

        asked = self._asked
        found = find_inputs(
            asked.root,
            environment=asked.environment,
            files=asked.files,
            extras=asked.extras,
            groups=asked.groups,
            package=asked.package,
        )
        return replace(found, further=asked.further, alone=asked.alone)

    def _label(self, path: str) -> str:
        relative = os.path.relpath(path, self._asked.root)
        return path if relative.startswith("..") else relative

    def _quick_inputs(self) -> dict[str, Any]:
        asked = self._asked
        names = sorted(name for name in os.listdir(asked.root) if _DECIDING.fullmatch(name))
        return {
            "recipe": RECIPE,
            "root": os.fsencode(asked.root).hex(),  # what lies beside it may decide too
            "top": [[name, self._digest_file(os.path.join(asked.root, name))] for name in names],
            "choices": [asked.files, asked.extras, asked.groups, asked.package, asked.further, asked.alone],
            "variables": resolving_variables(asked.environment),
            "home": asked.environment.get("HOME", ""),
            "targets": [_target_words(target) for target in self._targets],
        }

    def _as_before(self, known: Mapping[str, Any]) -> Resolution | None:
        """The kept resolution, if every file that decided is as it was; else None."""
        from hostbuild.languages.python.values import LocalBuild

        files = {os.path.join(self._asked.root, label): digest for label, digest in known["files"]}
        archives = {os.path.join(self._asked.root, label): digest for label, digest in known["archives"]}
        try:
            if any(self._digest_file(path) != digest for path, digest in (files | archives).items()):
                return None
        except (OSError, HostbuildError):
            return None
        if not all(self._source.has_archive(each) for each in known["built"]):
            return None
        wheels = tuple(tuple(Archive(*wheel) for wheel in target) for target in known["targets"])
        local = [LocalBuild(*each) for each in known["local"]]
        return self._with_local(wheels, local, files, known["warnings"])

    def _resolve(self, inputs: Inputs) -> tuple[Resolution, list[LocalBuild], list[dict[str, Any]]]:
        from hostbuild.languages.python.selection import select

        lock = self._lock(inputs)
        selection = select(lock, self._targets, root=inputs.root)
        if changed := self._changed_files(selection):
            lock = self._lock(inputs, changed)
            selection = select(lock, self._targets, root=inputs.root)
            if changed := self._changed_files(selection):
                raise DependenciesError(
                    f"{next(iter(changed))} is not the file that was locked",
                    why=f"it is another one than {lock.label} names, by its SHA-256",
                    fix="lock anew if it was replaced on purpose",
                )
        extra, built, missing = self._build_missing(selection)
        if missing:
            raise self._missing_error(missing, inputs)
        self._local = dict(_local_files(selection))
        wheels = []
        for selected in selection.targets:
            more = [wheel for platform, wheel in extra if platform == str(selected.target.platform)]
            found = (_measured(wheel) for wheel in (*selected.wheels, *more))
            wheels.append(tuple(sorted(found, key=lambda wheel: wheel.name)))
        local = {
            each.path + "\0" + each.subdirectory: each for one in selection.targets for each in one.local
        }
        if inputs.builds_project and inputs.project is not None:
            from hostbuild.languages.python.values import LocalBuild

            own = LocalBuild(inputs.project.name, inputs.project.root, "", editable=False)
            local.setdefault(f"{own.path}\0", own)
        ordered = sorted(local.values(), key=lambda each: (each.name, each.path))
        return Resolution(tuple(wheels), {}, tuple(dict.fromkeys(lock.warnings))), ordered, built

    def _changed_files(self, selection: Selection) -> dict[str, str]:
        """The archives on this machine that are not those of the lock: labels, and what they are now."""
        found = {}
        for path, sha256 in _local_files(selection):
            digest = self._digest_file(path) if os.path.isfile(path) else sha256
            if digest != sha256:
                found[self._label(path)] = digest
        return found

    def _lock(self, inputs: Inputs, changed: Mapping[str, str] | None = None) -> Lock:
        """The lock, kept or made; one that was made of archives that were `changed` since is no longer it."""
        from hostbuild.languages.python.lockfile import Lock
        from hostbuild.languages.python.locking import lock, lock_key
        from hostbuild.languages.python.session import Resolving

        how = Resolving(offline=self._workshop.offline)
        key = lock_key(inputs, self._targets, self._asked.environment, how)
        if changed:
            key["changed"] = sorted(changed.items())

        def make() -> dict[str, Any]:
            if inputs.kind not in {"pylock", "nothing"}:
                self._workshop.emit(Event("info", f"resolving what {inputs.label(inputs.path)} asks for"))
            with self._workshop.scratch() as work:
                made = lock(
                    inputs,
                    self._targets,
                    environment=self._asked.environment,
                    work=work,
                    how=how,
                    run=self._workshop.run,
                )
            return {"lock": made.to_json()}

        found = Lock.from_json(self._workshop.remember("what the dependencies are", key, make)["lock"])
        if found is None:
            raise StoreError("a lock in the cache cannot be understood", fix="build once with --no-cache")
        return found

    def _build_missing(
        self, selection: Selection
    ) -> tuple[list[tuple[str, Archive]], list[dict[str, Any]], list[Missing]]:
        """Wheels, by platform, of what there is only as source; of what; and what is missing all the same."""
        wheels: list[tuple[str, Archive]] = []
        built: list[dict[str, Any]] = []
        missing: list[Missing] = []
        for each in selection.missing:
            sdist = each.sdist
            if sdist is None or not _is_worth_building(each):
                missing.append(each)
                continue
            inputs = self._source.archive_inputs(sdist)
            try:
                wheel = self._source.of_archive(sdist, inputs)
            except DependenciesError as error:
                note = "\n".join(part for part in (error.what, error.why, error.detail) if part)
                missing.append(replace(each, note=note))
                continue
            built.append(inputs)
            wheels += [(gap.platform, wheel) for gap in each.gaps]
        return wheels, built, missing

    def _missing_error(self, missing: Sequence[Missing], inputs: Inputs) -> HostbuildError:
        from hostbuild.languages.python.availability import look_up
        from hostbuild.languages.python.missing import missing_error
        from hostbuild.languages.python.session import Resolving

        with self._workshop.scratch() as work:
            told = look_up(
                missing,
                inputs,
                self._targets,
                environment=self._asked.environment,
                work=work,
                run=self._workshop.run,
                how=Resolving(offline=self._workshop.offline),
            )
        return missing_error(told, self._targets)

    def _with_local(
        self,
        wheels: tuple[tuple[Archive, ...], ...],
        local: Iterable[LocalBuild],
        files: dict[str, str],
        warnings: Iterable[str],
    ) -> Resolution:
        """Add the wheels of the directories, which are built where their files changed."""
        added = []
        for each in local:
            wheel, read = self._source.of_directory(each)
            added.append(wheel)
            files |= {os.path.join(each.path, path): digest for path, digest in read}
        labelled = {self._label(path): digest for path, digest in files.items()}
        return Resolution(wheels, labelled, tuple(warnings), tuple(added))


_QUICK = "which wheels are needed"


def _is_worth_building(missing: Missing) -> bool:
    """What has wheels for some machines has machine code, unless it is known to do without."""
    from hostbuild.languages.python.missing import PURE_BUILDS

    return not missing.wheels or missing.name in PURE_BUILDS


def _local_files(selection: Selection) -> Iterator[tuple[str, str]]:
    """The archives of a selection that lie on this machine, with the SHA-256 that they are to have."""
    archives = [wheel for selected in selection.targets for wheel in selected.wheels]
    archives += [each.sdist for each in selection.missing if each.sdist is not None]
    return ((archive.path, archive.sha256) for archive in archives if archive.path and not archive.url)


def _measured(wheel: Archive) -> Archive:
    """A file on this machine has a size even where the lock does not say it."""
    if wheel.size is not None or not wheel.path:
        return wheel
    try:
        return wheel._replace(size=os.stat(wheel.path).st_size)
    except OSError:
        return wheel  # whoever fetches it says what is wrong


def _target_words(target: Target) -> list[str]:
    return [
        str(target.platform),
        target.python,
        target.libc,
        target.libc_version,
        target.interpreter.rpartition("/")[2],
    ]
