"""`hostbuild check`: which wheels each platform gets, which are missing, and what the base lacks for them.

What a program loads by name while it runs (dlopen, ctypes) is told by no file, so it cannot be seen here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hostbuild.errors import DetectionError, MissingWheelsError
from hostbuild.languages.base import Finding, Report
from hostbuild.languages.python.inspection import find_application, open_resolver
from hostbuild.languages.python.targets import read_bases

if TYPE_CHECKING:
    from hostbuild.languages.base import Project, Workshop
    from hostbuild.languages.python.values import Archive
    from hostbuild.oci.platform import Platform
    from hostbuild.wheels.base_python import BasePython
    from hostbuild.wheels.loading import Unloadable
    from hostbuild.wheels.machinecode import MachineCode
    from hostbuild.wheels.wheel import Wheel

BLIND = (
    "libraries that a program loads by name while it runs (dlopen) are named in no file: they cannot be seen"
)


def check(project: Project) -> Report:
    """The wheels of each platform, and all that would not work. Raises as `inspection.inspect` does, but for
    missing wheels, which are told.
    """
    bases = read_bases(project)
    workshop, resolver = open_resolver(project, bases)
    try:
        resolution = resolver.resolve()
    except MissingWheelsError as error:
        return _missing(project, bases, error)
    wheels = resolution.all_wheels
    findings = _start_findings(project, bases)
    workshop.fetch(
        {each.sha256: each.source() for one in wheels for each in one}.values(), resolver.credentials()
    )
    reader = _Reader(workshop)
    platforms: list[dict[str, Any]] = []
    unloadable: list[dict[str, Any]] = []
    for platform, base, chosen in zip(project.platforms, bases, wheels, strict=True):
        platforms.append(_platform(platform, base, chosen))
        found = reader.look(chosen, base, platform)
        findings += _findings(found, str(platform))
        unloadable += [{"platform": str(platform), **each._asdict()} for each in found]
    return Report(
        f"Python {', '.join(sorted({base.python for base in bases}))}, {_counts(wheels)}",
        (*_lines(wheels, project.platforms), BLIND),
        tuple(findings),
        {"platforms": platforms, "missing": [], "unloadable": unloadable, "note": BLIND},
    )


def _start_findings(project: Project, bases: tuple[BasePython, ...]) -> list[Finding]:
    """An application that nobody could start is told with all else."""
    if project.runtime:
        return []  # `open_resolver` has found the function
    try:
        find_application(project, bases)
    except DetectionError as error:
        return [Finding(str(platform), "the start", str(error)) for platform in project.platforms[:1]]
    return []


class _Reader:
    """Reads each wheel once, for whichever platforms get it."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._wheels: dict[str, Wheel] = {}
        self._memo: dict[str, tuple[MachineCode, ...]] = {}

    def look(self, chosen: Sequence[Archive], base: BasePython, platform: Platform) -> tuple[Unloadable, ...]:
        from hostbuild.wheels.loading import look
        from hostbuild.wheels.wheel import read_wheel

        for each in chosen:
            if each.sha256 not in self._wheels:
                path = self._workshop.path(f"sha256:{each.sha256}")
                self._wheels[each.sha256] = read_wheel(path, each.filename)
        wheels = [self._wheels[each.sha256] for each in chosen]
        return look(wheels, base, base.target(platform), memo=self._memo)


def _findings(found: Sequence[Unloadable], platform: str) -> list[Finding]:
    """One for each package and reason, with the first of the files that it is told of."""
    together: dict[tuple[str, str], list[str]] = {}
    for each in found:
        together.setdefault((each.package, each.reason), []).append(each.file)
    return [
        Finding(platform, package, f"{reason} ({files[0]}{_more(len(files) - 1)})")
        for (package, reason), files in together.items()
    ]


def _more(count: int) -> str:
    return f" and {count} more" if count else ""


def _missing(project: Project, bases: Sequence[BasePython], error: MissingWheelsError) -> Report:
    missing = error.extra["missing"]
    findings = tuple(
        Finding(gap["platform"], f"{each['name']} {each['version']}".strip(), gap["reason"])
        for each in missing
        for gap in each["missing_for"]
    )
    platforms = [
        _platform(platform, base, ()) for platform, base in zip(project.platforms, bases, strict=True)
    ]
    return Report(
        error.what,
        (*error.detail.splitlines(), f"fix: {error.fix}"),
        findings,
        {"platforms": platforms, "missing": missing, "unloadable": [], "note": BLIND},
    )


def _platform(platform: Platform, base: BasePython, chosen: Sequence[Archive]) -> dict[str, Any]:
    return {
        "platform": str(platform),
        "python": base.python,
        "libc": f"{base.libc} {base.libc_version}",
        "interpreter": base.interpreter,
        "wheels": [
            {"name": each.name, "version": each.version, "filename": each.filename, "sha256": each.sha256}
            for each in chosen
        ],
    }


def _counts(wheels: Sequence[Sequence[Archive]]) -> str:
    names = {each.name for one in wheels for each in one}
    files = {each.sha256 for one in wheels for each in one}
    return f"{_count(len(names), 'package')} in {_count(len(files), 'wheel')}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _lines(wheels: Sequence[Sequence[Archive]], platforms: Sequence[Platform]) -> list[str]:
    """A line a package: its version and, where they differ, the platforms' wheels."""
    names = sorted({each.name for one in wheels for each in one})
    lines = []
    for name in names:
        found = {
            str(platform): each
            for platform, one in zip(platforms, wheels, strict=True)
            for each in one
            if each.name == name
        }
        tags = {each.filename.removesuffix(".whl").rpartition("-")[2] for each in found.values()}
        versions = ", ".join(sorted({each.version for each in found.values()}))
        only = "" if len(found) == len(platforms) else f" (on {', '.join(found)} only)"
        lines.append(f"{name} {versions}: {', '.join(sorted(tags))}{only}")
    return lines
