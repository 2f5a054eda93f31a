"""The Python of a base image, learnt from the image's own files, never from its name or its environment."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from hostbuild.errors import BaseImageError, InvalidDocumentError
from hostbuild.oci.platform import Platform
from hostbuild.oci.quoting import quote
from hostbuild.wheels.loader import Library
from hostbuild.wheels.target import Target

if TYPE_CHECKING:
    from hostbuild.wheels.elf import Elf
    from hostbuild.wheels.image_files import Image
    from hostbuild.wheels.interpreters import Program

__all__ = ["BasePython", "Library", "learn"]

_SHELL = "/bin/sh"
_NOT_OURS = "this is not what was learnt of a base image's Python"
_TEXTS = ("python", "libc", "libc_version", "interpreter", "site", "shell")


class BasePython(NamedTuple):
    """A CPython in a base image, and the dynamic loader's view of it.

    `python` is its full version ("3.13.5", "3.14.0rc2"), `libc` "glibc" or "musl", `libc_version` as "2.36".
    `interpreter` is the absolute path that starts it, as PATH finds it; a virtual environment's own where it
    comes first. `site` is the real path of a directory whose .pth files it reads at its start; it need not be
    there. `shell` is "/bin/sh", or "" where there is none. `search` are the directories that the loader
    searches, in its order, and `libraries` what lies there and what the interpreter itself loads, by every
    name. `is_threaded`: it is a free-threaded build, which has tags of its own.
    """

    python: str
    libc: str
    libc_version: str
    interpreter: str
    site: str
    shell: str
    search: tuple[str, ...]
    libraries: tuple[Library, ...]
    is_threaded: bool = False

    def target(self, platform: Platform) -> Target:
        """What wheels are chosen for. A free-threaded one is told there by the interpreter's name."""
        interpreter = self.interpreter
        if self.is_threaded and re.search(r"\dt$", interpreter) is None:
            major, minor = self.python.split(".")[:2]
            interpreter = posixpath.join(posixpath.dirname(interpreter), f"python{major}.{minor}t")
        return Target(platform, self.python, self.libc, self.libc_version, interpreter)

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` takes."""
        return {
            **self._asdict(),
            "search": list(self.search),
            "libraries": [
                [each.path, each.machine, each.bits, each.soname, list(each.defines)]
                for each in self.libraries
            ],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> BasePython:
        """What `to_json` gave. Raises ValueError for anything else."""
        try:
            texts = {name: _text(document[name]) for name in _TEXTS}
            search = tuple(_text(each) for each in document["search"])
            libraries = tuple(_library(*each) for each in document["libraries"])
            is_threaded = _flag(document["is_threaded"])
        except (KeyError, TypeError) as error:
            raise ValueError(_NOT_OURS) from error
        if len(document) != len(cls._fields):
            raise ValueError(_NOT_OURS)
        return cls(**texts, search=search, libraries=libraries, is_threaded=is_threaded)


def learn(
    layers: Iterable[Callable[[], BinaryIO]], *, path: str, platform: Platform, label: str
) -> BasePython:
    """The Python that `path` (PATH of the image's config, "" where it has none) finds in an image.

    `layers` open the image's layers as they lie in registries, the lowest first. Each is read once, in memory
    that grows with the number of entries only; a layer is read again where a file is wanted whose name says
    nothing. `label` is what people call the image.
    Raises BaseImageError, with the platform, where there is no CPython, it is damaged, or for another
    machine; and what the openers and their streams raise.
    """
    from hostbuild.wheels.image_files import Image
    from hostbuild.wheels.interpreters import DEFAULT_PATH, UnusableError, find_program

    path = path or DEFAULT_PATH
    try:
        image = Image(tuple(layers))
        program = find_program(image, path)
        if program is None:
            raise BaseImageError(
                f"the base image {label} has no Python for {platform}",
                why=f"looked for was python3, python and python3.N on its PATH, {path}",
                fix="take a base that has one, as --base python:3.13-slim, or set its PATH",
                platform=str(platform),
            )
        return _describe(image, program, platform)
    except UnusableError as error:
        raise BaseImageError(
            f"the Python in the base image {label} cannot be used for {platform}",
            why=str(error),
            fix=error.fix,
            platform=str(platform),
        ) from error
    except InvalidDocumentError as error:
        raise BaseImageError(
            f"the base image {label} cannot be read for {platform}",
            why=str(error),
            fix="pull or make it anew, with layers that are packed by gzip or not at all",
            platform=str(platform),
        ) from error


def _describe(image: Image, program: Program, platform: Platform) -> BasePython:
    """Raises UnusableError."""
    from hostbuild.wheels.interpreters import UnusableError, check_kind, find_loaded, find_site, find_version
    from hostbuild.wheels.loader import described, find_libc, libraries_in, search_directories

    elf = check_kind(program)
    _check_machine(elf, program, platform)
    if not elf.interpreter:
        raise UnusableError(f"{program.path} is linked statically, and loads no extension modules")
    search = search_directories(image, platform, elf.interpreter)
    libc = find_libc(image, elf.interpreter, search)
    if libc is None:
        raise UnusableError(
            f"the libc of {program.path} is not known: looked at were its loader {quote(elf.interpreter)} "
            f"and libc.so.6 in {', '.join(search) or 'no directory'}"
        )
    loaded = find_loaded(image, program, elf, search)
    version = find_version(image, program, elf, loaded)
    libraries = {library.path: library for library in libraries_in(image, search)}
    for each in loaded.values():
        libraries.setdefault(each.path, described(each.path, each.elf))
    site = find_site(image, program, version)
    if not site.isprintable():
        raise UnusableError(f"the directory {quote(site)} of {program.path} has a name that is no text")
    shell = image.tree.file(_SHELL)
    return BasePython(
        python=version.full,
        libc=libc.name,
        libc_version=libc.version,
        interpreter=program.path,
        site=site,
        shell=_SHELL if shell is not None and shell[1].executable else "",
        search=search,
        libraries=tuple(libraries.values()),
        is_threaded=version.lib.endswith("t"),
    )


def _check_machine(elf: Elf, program: Program, platform: Platform) -> None:
    from hostbuild.wheels.interpreters import UnusableError
    from hostbuild.wheels.machinecode import why_unfit

    # Only the machine counts here; the versions of libraries are those of the image itself.
    reasons = why_unfit(elf._replace(versions=()), Target(platform, "", "", "", program.path))
    if reasons:
        raise UnusableError(
            f"{program.path} cannot run there: {reasons[0]}",
            fix=f"take a base that is for {platform}, or leave the platform out with --platform",
        )


def _library(path: object, machine: object, bits: object, soname: object, defines: object) -> Library:
    if type(bits) is not int or not isinstance(defines, list | tuple):
        raise TypeError
    return Library(_text(path), _text(machine), bits, _text(soname), tuple(_text(each) for each in defines))


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
