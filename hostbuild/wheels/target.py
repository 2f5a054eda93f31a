"""The Python in an image: which wheels it accepts, and what its environment markers are.

Nothing here asks the machine that hostbuild runs on. Sources: packaging.python.org, "Platform compatibility
tags" (PEP 425, 600, 656) and "Dependency specifiers" (environment markers).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from hostbuild.errors import BaseImageError
from hostbuild.oci.platform import Platform
from hostbuild.patterns import late

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packaging.tags import Tag

#: What uname says on a platform, the closest first. A 64-bit ARM processor runs a 32-bit system's wheels too.
_MACHINES: dict[tuple[str, str], tuple[str, ...]] = {
    ("386", ""): ("i686",),
    ("amd64", ""): ("x86_64",),
    ("arm", "v5"): ("armv5tel",),
    ("arm", "v6"): ("armv6l",),
    ("arm", "v7"): ("armv7l",),
    ("arm", "v8"): ("armv8l", "armv7l"),
    ("arm64", ""): ("aarch64",),
    ("loong64", ""): ("loongarch64",),
    ("ppc64le", ""): ("ppc64le",),
    ("riscv64", ""): ("riscv64",),
    ("s390x", ""): ("s390x",),
}

#: Machines that manylinux wheels are made for (PEP 599, 600).
_MANYLINUX = frozenset(
    {"x86_64", "i686", "aarch64", "armv7l", "ppc64le", "s390x", "riscv64", "loongarch64", "armv8l"}
)

#: The oldest glibc 2.x that manylinux speaks of: PEP 513 for x86, PEP 599 for all others.
_OLDEST = {"x86_64": 5, "i686": 5}
_OLDEST_ELSEWHERE = 17

#: The names from before PEP 600, by the minor version of glibc 2.
_LEGACY = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}

_VERSION = late(r"(\d+)\.(\d+)(?:[.\D].*)?", re.ASCII | re.DOTALL)


class Target(NamedTuple):
    """A CPython in an image.

    `python` is its full version ("3.13.5"), `libc` "glibc" or "musl", `libc_version` as "2.36" or "1.2.5",
    `interpreter` its absolute path in the image ("/usr/local/bin/python3.13"; a name as python3.13t says that
    it is a free-threaded one).
    """

    platform: Platform
    python: str
    libc: str
    libc_version: str
    interpreter: str

    @property
    def machine(self) -> str:
        """What `platform.machine()` says there: "x86_64", "aarch64", "armv7l", …

        Raises BaseImageError for a platform that no wheels are made for.
        """
        return self._machines()[0]

    @property
    def python_version(self) -> tuple[int, int]:
        """Major and minor version. Raises BaseImageError."""
        return _two_numbers(self.python, "version of Python")

    def platforms(self) -> tuple[str, ...]:
        """The platform tags of wheels that run here, the best first. Raises BaseImageError."""
        return tuple(dict.fromkeys(self._platforms()))

    def tags(self) -> tuple[Tag, ...]:
        """The tags of wheels that run here, the best first, as installers order them: machine code before
        pure, for its own version of Python before older ones, for the newest libc before older ones.

        Raises BaseImageError where platform, Python or libc are none that wheels know.
        """
        from packaging.tags import compatible_tags, cpython_tags

        version = self.python_version
        platforms = self.platforms()
        interpreter = f"cp{version[0]}{version[1]}"
        threaded = re.search(r"\dt$", self.interpreter) is not None and version >= (3, 13)
        machine_code = cpython_tags(version, [interpreter + "t" * threaded], platforms)
        return tuple(dict.fromkeys((*machine_code, *compatible_tags(version, interpreter, platforms))))

    def markers(self) -> dict[str, str]:
        """The environment of markers there, complete but for `extra`.

        The kernel is the one that the container will run on, so its release and version are "" here.
        Raises BaseImageError.
        """
        major, minor = self.python_version
        return {
            "implementation_name": "cpython",
            "implementation_version": self.python,
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": self.python,
            "python_version": f"{major}.{minor}",
            "sys_platform": "linux",
        }

    def _machines(self) -> tuple[str, ...]:
        platform = self.platform
        # The variants of amd64 and arm64 say what else a processor can do, and wheels have no names for that.
        variant = platform.variant if platform.architecture == "arm" else ""
        found = _MACHINES.get((platform.architecture, variant)) if platform.os == "linux" else None
        if found is None:
            raise BaseImageError(
                f"no wheels are made for {platform}",
                why="the format has no name for this platform",
                fix="leave it out: --platform with the others",
                platform=str(platform),
            )
        return found

    def _platforms(self) -> Iterator[str]:
        machines = self._machines()
        major, minor = _two_numbers(self.libc_version, f"version of {self.libc}")
        # A wheel without a promise about libc was made for just such a system: pip and uv take it first.
        yield from (f"linux_{machine}" for machine in machines)
        for machine in machines:
            if self.libc == "musl":
                yield from (f"musllinux_{major}_{each}_{machine}" for each in range(minor, -1, -1))
            elif self.libc != "glibc" or major != 2:
                raise BaseImageError(f"no wheels are made for the libc {self.libc!r} {self.libc_version!r}")
            elif machine in _MANYLINUX:
                yield from _manylinux(machine, minor)


def _manylinux(machine: str, newest: int) -> Iterator[str]:
    for minor in range(newest, _OLDEST.get(machine, _OLDEST_ELSEWHERE) - 1, -1):
        yield f"manylinux_2_{minor}_{machine}"
        if minor in _LEGACY:
            yield f"{_LEGACY[minor]}_{machine}"


def _two_numbers(text: str, what: str) -> tuple[int, int]:
    found = _VERSION.fullmatch(text)
    if found is None or len(text) > 64 or len(found[1]) > 4 or len(found[2]) > 4:
        raise BaseImageError(f"{text[:64]!r} is no {what}", why="expected is one as 3.13.5 or 2.36")
    return int(found[1]), int(found[2])
