"""Whether the dynamic loader of a base finds all that the machine code in a set of wheels asks for.

What a program loads by name while it runs (dlopen, ctypes) is told by no file: it cannot be seen here.
Neither can libraries of the base where its loader does not search, which a wheel's own RUNPATH may name.
Sources: ld.so(8), System V ABI, "Dynamic Linking"; LSB Core, "Symbol Versioning"; musl's ldso/dynlink.c.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import NamedTuple

from hostbuild.wheels.base_python import BasePython
from hostbuild.wheels.elf import Elf
from hostbuild.wheels.loader import Library, described, in_origin
from hostbuild.wheels.machinecode import MachineCode, find_machine_code, why_unfit
from hostbuild.wheels.prefix import DEFAULT_PREFIX, Prefix
from hostbuild.wheels.target import Target
from hostbuild.wheels.wheel import Wheel

#: Names that musl's loader takes for itself, whatever comes after the dot.
_MUSL_OWN = re.compile(r"lib(?:c|pthread|rt|m|dl|util|xnet)\..*")
#: What `why_unfit` judges.
_GLIBC = re.compile(r"GLIBC_\d.*")
_NUMBERED = re.compile(r"(.*?)(\d+(?:\.\d+)*)")


class Unloadable(NamedTuple):
    """Something that a file cannot be loaded for; a file with two faults is told twice.

    `wheel` is the wheel's file name, `package` its normalised name, `file` the path in it. `reason` is a text
    such as "libexpat.so.1 is not in the base".
    """

    wheel: str
    package: str
    file: str
    reason: str


def look(
    wheels: Sequence[Wheel],
    base: BasePython,
    target: Target,
    *,
    memo: MutableMapping[str, tuple[MachineCode, ...]] | None = None,
) -> tuple[Unloadable, ...]:
    """All that the base lacks for the machine code in these wheels, in the order of wheels and paths.

    Looked at are all ELF files that a loader may be given. A needed library is searched for where the file's
    RUNPATH or RPATH leads to among the wheels, then in the base, then anywhere in the wheels: one that was
    loaded before is taken by its name. A library of a wheel that lacks something is told itself, and not who
    needs it. Of symbols only their versions are seen. Programs for other systems and archives of objects are
    left alone: nobody loads them. `memo` keeps what was read, by wheels' paths, for the next base.
    Raises WheelError for a damaged wheel; a damaged ELF file is told.
    """
    memo = {} if memo is None else memo
    for wheel in wheels:
        if wheel.path not in memo:
            memo[wheel.path] = find_machine_code(wheel)
    found = [(wheel, code) for wheel in wheels for code in memo[wheel.path] if code.system == "ELF"]
    shelf = _Shelf(found, base, is_musl=target.libc == "musl")
    return tuple(
        Unloadable(wheel.filename, wheel.name, code.path, reason)
        for wheel, code in found
        for reason in _reasons(wheel, code, shelf, target)
    )


def _reasons(wheel: Wheel, code: MachineCode, shelf: _Shelf, target: Target) -> Iterator[str]:
    elf = code.elf
    if elf is None:
        yield f"it is damaged: {code.fault}"
        return
    if elf.kind not in {"shared", "program"}:
        return
    # First what makes all else pointless: another machine, another libc.
    general = why_unfit(elf, target)
    yield from general
    if why_unfit(elf._replace(versions=()), target) or (general and target.libc != "glibc"):
        return
    if elf.interpreter and not shelf.has_loader(elf):
        yield f"the loader {elf.interpreter} is not in the base"
    where = _installed(wheel, code.path)
    providers: dict[str, _Provider] = {}
    for name in dict.fromkeys(elf.needed):
        provider = shelf.find(name, elf, where)
        if provider is None:
            yield f"{name} is not in the base"
        else:
            providers[name] = provider
    yield from _unmet(elf, providers)


class _Provider(NamedTuple):
    """A library that is taken: `owner` says whose it is, `defines` its versions."""

    owner: str
    defines: tuple[str, ...]


#: A name or a path, and the machine and bits that the file is for: a loader passes by what is for others.
_Key = tuple[str, str, int]


class _Shelf:
    """All libraries that a file of the wheels may get."""

    def __init__(
        self, found: Iterable[tuple[Wheel, MachineCode]], base: BasePython, *, is_musl: bool
    ) -> None:
        self._is_musl = is_musl
        self._by_path: dict[_Key, _Provider] = {}
        self._in_wheels: dict[_Key, _Provider] = {}
        self._in_base: dict[_Key, _Provider] = {}
        for wheel, code in found:
            if code.elf is not None:
                library = described(_installed(wheel, code.path), code.elf)
                self._add(library, f"that of {wheel.filename}", self._in_wheels, is_loaded=True)
        for library in base.libraries:
            # Outside of the loader's directories is only what the interpreter has loaded itself.
            is_loaded = posixpath.dirname(library.path) not in base.search
            self._add(library, "the base's", self._in_base, is_loaded=is_loaded)

    def _add(self, library: Library, owner: str, names: dict[_Key, _Provider], *, is_loaded: bool) -> None:
        """Files are found by their names; a library that is loaded is known by its DT_SONAME too."""
        provider = _Provider(owner, library.defines)
        self._by_path.setdefault((library.path, library.machine, library.bits), provider)
        for name in (posixpath.basename(library.path), library.soname if is_loaded else ""):
            if name:
                names.setdefault((name, library.machine, library.bits), provider)

    def has_loader(self, elf: Elf) -> bool:
        """Whether the loader that a program asks for is in the base."""
        return (posixpath.basename(elf.interpreter), elf.machine, elf.bits) in self._in_base

    def find(self, name: str, elf: Elf, where: str) -> _Provider | None:
        """What the loader takes for `name`, which `elf` at the path `where` asks for."""
        if self._is_musl and _MUSL_OWN.fullmatch(name):
            return _Provider("the base's", ())
        if "/" in name:
            return self._by_path.get((in_origin(name, where), elf.machine, elf.bits))
        for text in elf.search:
            path = posixpath.normpath(posixpath.join(in_origin(text, where), name))
            if (path, elf.machine, elf.bits) in self._by_path:
                return self._by_path[path, elf.machine, elf.bits]
        key = (name, elf.machine, elf.bits)
        return self._in_base.get(key) or self._in_wheels.get(key)


def _unmet(elf: Elf, providers: Mapping[str, _Provider]) -> Iterator[str]:
    """The versions that are wanted and not there; of one row of versions the newest."""
    newest: dict[tuple[str, str], str] = {}
    for library, version in elf.versions:
        provider = providers.get(library)
        # Without any versions a library is taken as it is, by glibc with a warning.
        if provider is None or not provider.defines or version in provider.defines or _GLIBC.match(version):
            continue
        row = (library, _row(version)[0])
        newest[row] = max(newest.get(row, version), version, key=_row)
    for (library, row_name), version in newest.items():
        provider = providers[library]
        there = [each for each in provider.defines if _row(each)[0] == row_name]
        has = f"has up to {max(there, key=_row)}" if there else "has no such versions"
        yield f"needs {version} of {library}, and {provider.owner} {has}"


def _row(version: str) -> tuple[str, tuple[int, ...]]:
    """The row that a version is of, and its place there: GLIBCXX_, (3, 4, 32)."""
    found = _NUMBERED.fullmatch(version)
    if found is None or len(version) > 200:
        return version, ()
    return found[1], tuple(int(part) for part in found[2].split("."))


def _installed(wheel: Wheel, path: str, prefix: Prefix = DEFAULT_PREFIX) -> str:
    """Where a file of the wheel lies in the image."""
    top, _, rest = path.partition("/")
    if not wheel.data_dir or top != wheel.data_dir:
        return f"/{prefix.site}/{path}"
    scheme, _, rest = rest.partition("/")
    root = {"scripts": prefix.bin, "data": prefix.data}.get(scheme, prefix.site)
    return f"/{root}/{rest}"
