"""What a selection is made of: the files that targets get, and what they cannot get."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hostbuild.records import field, record

if TYPE_CHECKING:
    from hostbuild.wheels.target import Target
    from hostbuild.wheels.wanted import WheelSource


class Archive(NamedTuple):
    """A wheel, or a source archive, that is to be had.

    `name` is normalised; `url` is "" for a file on this machine, whose absolute `path` then stands; `sha256`
    is hex; `size` is in bytes, or None where the index does not say it.
    """

    name: str
    version: str
    filename: str
    url: str
    path: str
    sha256: str
    size: int | None

    def source(self) -> WheelSource:
        """The same as what `wheels.fetch` asks for."""
        from hostbuild.oci.digest import Digest
        from hostbuild.wheels.wanted import WheelSource

        return WheelSource(self.filename, self.url or self.path, Digest("sha256", self.sha256), self.size)


class LocalBuild(NamedTuple):
    """A directory to build to a wheel: `path` is absolute, `subdirectory` "" or a path below it."""

    name: str
    path: str
    subdirectory: str
    editable: bool


@record
class Selected:
    """What one target gets, sorted by name."""

    target: Target
    wheels: tuple[Archive, ...]
    local: tuple[LocalBuild, ...]


class Gap(NamedTuple):
    """A target that a package has no wheel for.

    `libc` is as "glibc 2.36"; `reason` says what the wheels lack; `another_base` tells
    that wheels for this platform exist, for another Python or libc.
    """

    platform: str
    python: str
    libc: str
    reason: str
    another_base: bool = False


@record
class Missing:
    """A package without a wheel for at least one target.

    `wheels` are the file names of the wheels that it has; `sdist` is its source archive, a candidate to
    build; `note` says why a build of it did not help; `pin` is the line that asks for another version, one
    that has wheels and changes nothing else ("NAME==VERSION", with a marker where not all targets need it).
    """

    name: str
    version: str
    gaps: tuple[Gap, ...]
    wheels: tuple[str, ...] = ()
    sdist: Archive | None = None
    note: str = ""
    pin: str = ""


@record
class Selection:
    """What all targets get, and the packages that have no wheel for one of them.

    A missing package with an `sdist` is a candidate: built to a wheel without machine code it would do.
    """

    targets: tuple[Selected, ...]
    missing: tuple[Missing, ...] = field(default=())
