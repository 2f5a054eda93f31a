"""The Python of an image: which one PATH finds, which version its bytes tell, and where it reads packages.

Sources: CPython's Modules/getpath.py (virtual environments, the standard library's landmark) and Lib/site.py;
Debian's Python policy for its dist-packages; Include/patchlevel.h for the version.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from hostbuild.oci.quoting import quote
from hostbuild.wheels.loader import in_origin, library_at

if TYPE_CHECKING:
    from hostbuild.wheels.elf import Elf
    from hostbuild.wheels.image_files import Facts, Image

#: Where programs are searched in an image that does not say it, as runtimes do.
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_NUMBERED = re.compile(r"python3\.(\d{1,2})(t?)")
_REAL_NAME = re.compile(r"python(\d\.\d{1,2}[a-z]*)")
_LIBPYTHON = re.compile(r"libpython(\d\.\d{1,2}[a-z]*)\.so[\d.]*")
#: Letters after the number, as in python3.13t (free-threaded) and python3.13d (with checks).
_FLAGS = "abcdefghijklmnopqrstuvwxyz"
_LANDMARKS = ("os.py", "os.pyc")


class UnusableError(Exception):
    """What PATH finds is no CPython that wheels can be chosen for; the text says why, `fix` what to do."""

    def __init__(
        self, why: str, fix: str = "take another base, or let its PATH begin with a sound one"
    ) -> None:
        super().__init__(why)
        self.fix = fix


class Program(NamedTuple):
    """A program: `path` as PATH has it, `real` without links, and what the file says."""

    path: str
    real: str
    facts: Facts


class Version(NamedTuple):
    """`full` as "3.13.5"; `lib` the name of its directories, as "python3.13", or "python3.13t" for a
    free-threaded one.
    """

    full: str
    lib: str


class Found(NamedTuple):
    """A path and the library that lies there."""

    path: str
    elf: Elf


def find_program(image: Image, path: str) -> Program | None:
    """The Python 3 in the first directory of PATH that has one; `python3` before `python` before python3.N,
    the newest first. It need not be a sound one. Raises as `Image.facts` does.
    """
    for directory in dict.fromkeys((path or DEFAULT_PATH).split(":")):
        there = image.tree.directory(directory) if directory.startswith("/") else None
        if there is None:
            continue
        for name in ("python3", "python", *_numbered(there[1])):
            found = image.tree.file(posixpath.join(directory, name)) if name in there[1] else None
            if found is not None and found[1].executable:
                program = Program(
                    posixpath.normpath(posixpath.join(directory, name)), found[0], image.facts(found[1])
                )
                if not _is_older(program):
                    return program
    return None


def check_kind(program: Program) -> Elf:
    """The program as ELF file. Raises UnusableError for a script, a damaged file, and what is no CPython."""
    shown = _shown(program)
    if program.facts.fault:
        raise UnusableError(f"{shown} is damaged: {program.facts.fault}")
    name = posixpath.basename(program.real)
    needed = program.facts.elf.needed if program.facts.elf is not None else ()
    if "pypy" in name or any(each.startswith("libpypy") for each in needed):
        raise UnusableError(f"{shown} is PyPy, and wheels are chosen for CPython only")
    if program.facts.elf is None:
        first = program.facts.text.partition(b"\n")[0].decode("utf-8", "replace")
        what = f"a script ({quote(first)})" if first.startswith("#!") else "no program"
        raise UnusableError(f"{shown} is {what}, and what it starts cannot be told")
    if program.facts.elf.kind not in {"program", "shared"}:
        raise UnusableError(f"{shown} is no program")
    return program.facts.elf


def find_loaded(image: Image, program: Program, elf: Elf, directories: Sequence[str]) -> dict[str, Found]:
    """The libraries that are loaded with the program, by the names that it and they ask for them; those that
    are not there are left out.
    """
    loaded: dict[str, Found] = {}
    todo: list[tuple[str, Elf]] = [(program.real, elf)]
    while todo:
        path, asking = todo.pop(0)
        beside = [each for each in (in_origin(text, path) for text in asking.search) if each.startswith("/")]
        for name in asking.needed:
            if name in loaded:
                continue
            places = (
                [name] if "/" in name else [posixpath.join(each, name) for each in (*beside, *directories)]
            )
            for place in places:
                library = library_at(image, place)
                if library is not None and (library.machine, library.bits) == (elf.machine, elf.bits):
                    real = image.tree.file(place)
                    loaded[name] = Found(posixpath.normpath(place), library)
                    todo.append((real[0] if real is not None else place, library))
                    break
    return loaded


def find_version(image: Image, program: Program, elf: Elf, loaded: Mapping[str, Found]) -> Version:
    """The version that the interpreter's bytes tell, or those of the libpython that it is made of, held
    against their names. Raises UnusableError.
    """
    facts, where = program.facts, _shown(program)
    names = [_REAL_NAME.fullmatch(posixpath.basename(program.real))]
    for needed in elf.needed:
        named = _LIBPYTHON.fullmatch(needed)
        if named is None:
            continue
        names.append(named)
        library = image.tree.file(loaded[needed].path) if needed in loaded else None
        if library is None:
            raise UnusableError(f"{where} needs {needed}, which is not in the image")
        facts, where = image.facts(library[1]), library[0]
    told = [match[1] for match in names if match is not None]
    if len(numbers := sorted({text.rstrip(_FLAGS) for text in told})) > 1:
        raise UnusableError(f"{_shown(program)} has names of two versions, {' and '.join(numbers)}")
    # Without a number in its name it is told by the standard library that it finds.
    libs = [f"python{text}" for text in told] or _libraries_above(image, program, facts)
    is_threaded = any(_two(lib)[1] for lib in libs)
    minors = {_two(lib)[0] for lib in libs}
    right = [(text, alone) for text, alone in facts.python if _two(text)[0] in minors]
    versions = [text for text, alone in right if alone] or [text for text, _ in right]
    if len(versions) != 1:
        expected = " or ".join(sorted(minors)) or "CPython 3"
        found = ", ".join(versions or [text for text, _ in facts.python]) or "none"
        raise UnusableError(
            f"{where} does not tell its version: expected is one of {expected}, and in it is {found}"
        )
    return Version(versions[0], f"python{_two(versions[0])[0]}{'t' * is_threaded}")


def find_site(image: Image, program: Program, version: Version) -> str:
    """The real path of the directory whose .pth files this Python reads at its start.

    Raises UnusableError where its standard library is not there.
    """
    directory = posixpath.dirname(program.path)
    for environment in (directory, posixpath.dirname(directory)):
        if image.tree.file(posixpath.join(environment, "pyvenv.cfg")) is not None:
            return image.tree.real(posixpath.join(environment, "lib", version.lib, "site-packages"))
    library = _standard_library(image, program, version.lib)
    if not library:
        raise UnusableError(
            f"the standard library of {_shown(program)}, lib/{version.lib}/os.py, is not there"
        )
    prefix = posixpath.dirname(posixpath.dirname(library))
    # Debian's site.py has a directory of its own, and no other.
    if "dist-packages" in image.text(posixpath.join(library, "site.py")):
        return image.tree.real(posixpath.join(prefix, "lib/python3/dist-packages"))
    return image.tree.real(posixpath.join(prefix, "lib", version.lib, "site-packages"))


def _numbered(names: Iterable[str]) -> list[str]:
    """Of these the names as python3.13, the newest first, before the free-threaded ones of that version."""
    found = [match for name in names if (match := _NUMBERED.fullmatch(name)) is not None]
    return [match[0] for match in sorted(found, key=lambda match: (-int(match[1]), match[2]))]


def _is_older(program: Program) -> bool:
    needed = program.facts.elf.needed if program.facts.elf is not None else ()
    return posixpath.basename(program.real).startswith("python2") or any(
        name.startswith("libpython2") for name in needed
    )


def _shown(program: Program) -> str:
    return program.path if program.path == program.real else f"{program.path} ({program.real})"


def _two(text: str) -> tuple[str, bool]:
    """Major and minor version in a text as "3.13.5" or "python3.13t", and whether it is free-threaded."""
    found = re.match(r"(?:python)?(\d+\.\d+)([a-z]*)$|(\d+\.\d+)", text)
    if found is None:
        return "", False
    return found[1] or found[3], "t" in (found[2] or "")


def _libraries_above(image: Image, program: Program, facts: Facts) -> list[str]:
    minors = dict.fromkeys(_two(text)[0] for text, _ in facts.python)
    names = [f"python{minor}{flag}" for minor in minors for flag in ("", "t")]
    return [name for name in names if _standard_library(image, program, name)][:1]


def _standard_library(image: Image, program: Program, lib: str) -> str:
    """The directory of the standard library, by its landmark above the program; "" where there is none."""
    above = posixpath.dirname(program.real)
    prefixes = [above]
    while above not in {"/", ""}:
        above = posixpath.dirname(above)
        prefixes.append(above)
    for prefix in (*prefixes, "/usr/local", "/usr"):
        for library in (posixpath.join(prefix, directory, lib) for directory in ("lib", "lib64")):
            if any(image.tree.file(posixpath.join(library, name)) is not None for name in _LANDMARKS):
                return library
    return ""
