"""The dynamic loader of an image: which libc it belongs to, where it searches, and which libraries lie there.

Sources: ld.so(8), ldconfig(8); for musl its manual, "Dynamic linking", and ldso/dynlink.c. The loader of
glibc reads the cache that ldconfig makes of ld.so.conf; we read ld.so.conf, so a directory that ldconfig was
not run for counts as searched. What LD_LIBRARY_PATH adds is not known here.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from hostbuild.patterns import late

if TYPE_CHECKING:
    from hostbuild.oci.platform import Platform
    from hostbuild.wheels.elf import Elf
    from hostbuild.wheels.image_files import Image

#: Debian's directories, by architecture (multiarch specifiers).
_TRIPLETS = {
    "386": "i386-linux-gnu",
    "amd64": "x86_64-linux-gnu",
    "arm": "arm-linux-gnueabihf",
    "arm64": "aarch64-linux-gnu",
    "loong64": "loongarch64-linux-gnu",
    "ppc64le": "powerpc64le-linux-gnu",
    "riscv64": "riscv64-linux-gnu",
    "s390x": "s390x-linux-gnu",
}
_WIDE = frozenset({"amd64", "arm64", "loong64", "ppc64le", "riscv64", "s390x"})

_MUSL_LOADER = late(r"ld-musl-([\w.-]+)\.so\.1")
_GLIBC_LOADER = late(r"ld(?:-linux[\w.-]*|64|-[\d.]+)?\.so(?:\.\d+)?")
_GLIBC_VERSION = late(r"GLIBC_(\d{1,4})\.(\d{1,4})(?:\.\d+)?")
_GLIBC = "libc.so.6"

#: Files that ld.so.conf may include, and directories that it may name.
_MAX_SETTINGS = 256


class Library(NamedTuple):
    """A shared library where the loader finds it.

    `path` is absolute and ends in the name that it goes by, `machine` and `bits` are as `Elf` has them.
    `soname` is "" where it says none. `defines` are the versions that it has for others, as "GLIBC_2.17".
    """

    path: str
    machine: str
    bits: int
    soname: str
    defines: tuple[str, ...]


class Libc(NamedTuple):
    """`name` "glibc" or "musl"; `version` as "2.36" or "1.2.5"; `path` where it lies."""

    name: str
    version: str
    path: str


def search_directories(image: Image, platform: Platform, interpreter: str) -> tuple[str, ...]:
    """The directories that the loader `interpreter` (PT_INTERP) searches by itself, those that are there, in
    their order; each once, links counted as what they lead to. Raises as `Image.facts` does.
    """
    name = posixpath.basename(interpreter)
    musl = _MUSL_LOADER.fullmatch(name)
    wanted = list(_musl_directories(image, musl[1]) if musl else _glibc_directories(image, platform))
    # A system that keeps each package apart builds its loader to search beside itself.
    found = image.tree.find(interpreter)
    if found is not None:
        wanted.append(posixpath.dirname(found[0]))
    kept: dict[str, str] = {}
    for directory in wanted:
        there = image.tree.directory(directory)
        if there is not None and directory.isprintable():
            kept.setdefault(there[0], posixpath.normpath(directory))
    return tuple(kept.values())


def libraries_in(image: Image, directories: Iterable[str]) -> Iterator[Library]:
    """The shared libraries in these directories, by every name that they have there."""
    for directory in directories:
        there = image.tree.directory(directory)
        for name in sorted(there[1]) if there is not None else ():
            path = posixpath.join(directory, name)
            # A name of other bytes than UTF-8 is no text that anything asks for.
            if ".so" in name and name.isprintable() and (elf := library_at(image, path)) is not None:
                yield described(path, elf)


def library_at(image: Image, path: str) -> Elf | None:
    """The shared library that `path` leads to, or None."""
    found = image.tree.file(path)
    return image.library(found[1]) if found is not None else None


def in_origin(text: str, path: str) -> str:
    """A directory or name with $ORIGIN as the file at `path` means it: the directory that it lies in."""
    return re.sub(r"\$(?:ORIGIN\b|\{ORIGIN\})", lambda _: posixpath.dirname(path), text)


def described(path: str, elf: Elf) -> Library:
    """What is known of the library at `path`."""
    return Library(path, elf.machine, elf.bits, elf.soname, elf.defines)


def find_libc(image: Image, interpreter: str, directories: Iterable[str]) -> Libc | None:
    """The libc that the loader `interpreter` belongs to, with the version that its own files tell; None where
    it is neither glibc nor musl, or does not tell. Raises as `Image.facts` does.
    """
    name = posixpath.basename(interpreter)
    loader = image.tree.file(interpreter)
    if loader is None:
        return None
    if _MUSL_LOADER.fullmatch(name):
        versions = image.facts(loader[1]).musl  # the loader and the libc are one file
        return Libc("musl", versions[0], loader[0]) if len(versions) == 1 else None
    if not _GLIBC_LOADER.fullmatch(name):
        return None
    for directory in (posixpath.dirname(loader[0]), *directories):
        found = image.tree.file(posixpath.join(directory, _GLIBC))
        if found is not None and (version := _glibc_version(image, found[0])):
            return Libc("glibc", version, found[0])
    return None


def _glibc_version(image: Image, path: str) -> str:
    """What `gnu_get_libc_version` says there; a release that brought no symbols is in the banner only."""
    found = image.tree.file(path)
    if found is None:
        return ""
    facts = image.facts(found[1])
    defined = (
        [match for text in facts.elf.defines if (match := _GLIBC_VERSION.fullmatch(text))]
        if facts.elf
        else []
    )
    numbers = [(int(match[1]), int(match[2])) for match in defined]
    if not numbers:
        return ""
    told = [(int(major), int(minor)) for major, _, minor in (text.partition(".") for text in facts.glibc)]
    major, minor = max(numbers + [each for each in told if each[0] == max(numbers)[0]])
    return f"{major}.{minor}"


def _musl_directories(image: Image, machine: str) -> Iterator[str]:
    """The file replaces what is built in, even by nothing."""
    text = image.text(f"/etc/ld-musl-{machine}.path")
    if image.tree.file(f"/etc/ld-musl-{machine}.path") is None:
        text = "/lib:/usr/local/lib:/usr/lib"
    yield from (part for part in re.split(r"[:\n]", text)[:_MAX_SETTINGS] if part.startswith("/"))


def _glibc_directories(image: Image, platform: Platform) -> Iterator[str]:
    yield from _configured(image, "/etc/ld.so.conf", set())
    triplet = _TRIPLETS.get(platform.architecture, "")
    if triplet:
        yield from (f"/lib/{triplet}", f"/usr/lib/{triplet}")
    if platform.architecture in _WIDE:
        yield from ("/lib64", "/usr/lib64")
    yield from ("/lib", "/usr/lib")


def _configured(image: Image, path: str, known: set[str]) -> Iterator[str]:
    """The directories of a file as ld.so.conf, and of what it includes, each file once."""
    found = image.tree.file(path)
    if found is None or found[0] in known or len(known) >= _MAX_SETTINGS:
        return
    known.add(found[0])
    for line in image.text(path).splitlines()[: 16 * _MAX_SETTINGS]:
        words = line.partition("#")[0].split()
        if words[:1] == ["include"]:
            for word in words[1:]:
                for each in _expand(image, posixpath.join(posixpath.dirname(path), word)):
                    yield from _configured(image, each, known)
        elif words[:1] != ["hwcap"]:
            parts = (part.partition("=")[0] for word in words for part in re.split("[:,]", word))
            yield from (part for part in parts if part.startswith("/"))


def _expand(image: Image, pattern: str) -> list[str]:
    """The paths that a pattern of the shell's kind matches, in their order."""
    paths = [""]
    for part in pattern.strip("/").split("/"):
        if not re.search(r"[*?\[]", part):
            paths = [f"{path}/{part}" for path in paths]
            continue
        found = [(path, image.tree.directory(path or "/")) for path in paths]
        paths = [
            f"{path}/{name}"
            for path, there in found
            if there is not None
            for name in sorted(there[1])
            if fnmatchcase(name, part) and (part.startswith(".") or not name.startswith("."))
        ][:_MAX_SETTINGS]
    return paths
