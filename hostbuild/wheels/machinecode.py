"""The machine code in a wheel, and whether a target can run it.

What is loaded by name while a program runs (dlopen) is not told by any file: it cannot be seen here.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from hostbuild.errors import ElfError
from hostbuild.wheels.elf import MAGIC, Elf, read_elf
from hostbuild.wheels.target import Target
from hostbuild.wheels.wheel import Wheel, WheelFile

#: First bytes of what other systems run, and of archives of objects.
_FOREIGN = {
    b"MZ": "Windows",
    b"\xfe\xed\xfa\xce": "macOS",
    b"\xfe\xed\xfa\xcf": "macOS",
    b"\xce\xfa\xed\xfe": "macOS",
    b"\xcf\xfa\xed\xfe": "macOS",
    b"!<arch>\n": "archive",
}

#: (machine, bits, whether big-endian) of an architecture's programs.
_EXPECTED = {
    "386": ("i386", 32, False),
    "amd64": ("x86_64", 64, False),
    "arm": ("arm", 32, False),
    "arm64": ("aarch64", 64, False),
    "loong64": ("loongarch", 64, False),
    "ppc64le": ("ppc64", 64, False),
    "riscv64": ("riscv", 64, False),
    "s390x": ("s390", 64, True),
}

_GLIBC = re.compile(r"GLIBC_(\d{1,4})\.(\d{1,4})(?:\.\d+)?")
#: Variants of arm whose systems pass floating point numbers in its registers (armhf).
_HARD_FLOAT = ("v6", "v7", "v8")


class MachineCode(NamedTuple):
    """A file with machine code: `path` in the wheel; `system` "ELF", "Windows", "macOS" or "archive".

    `elf` is there for ELF files that are in order, `fault` says what is wrong with one that is not.
    """

    path: str
    system: str
    elf: Elf | None = None
    fault: str = ""


def find_machine_code(wheel: Wheel) -> tuple[MachineCode, ...]:
    """All files of machine code, told by their first bytes, in the order of their paths.

    Raises WheelError for a damaged wheel; a damaged ELF file is none.
    """
    looks = (_look(wheel, file) for file in wheel.files)
    return tuple(code for code in looks if code is not None)


def why_unfit(elf: Elf, target: Target) -> tuple[str, ...]:
    """Why the target cannot load the file, each reason a text; empty where nothing speaks against it.

    Looked at are the machine, how floating point numbers are passed, and the versions of glibc; whether the
    needed libraries are there is not.
    """
    expected = _EXPECTED.get(target.platform.architecture)
    if (elf.machine, elf.bits, elf.is_big_endian) != expected:
        return (f"it is for {elf.machine} ({elf.bits} bits)",)
    reasons = []
    if elf.machine == "arm" and elf.hard_float is False and target.platform.variant in _HARD_FLOAT:
        reasons.append("it passes floating point numbers in the soft-float way")
    versions = [found for _, version in elf.versions if (found := _GLIBC.fullmatch(version))]
    if versions and target.libc != "glibc":
        reasons.append(f"it needs glibc, and the base has {target.libc}")
    elif versions:
        newest = max((int(found[1]), int(found[2])) for found in versions)
        has = tuple(int(part) for part in re.findall(r"\d{1,4}", target.libc_version)[:2])
        if newest > has:
            reasons.append(f"it needs glibc {newest[0]}.{newest[1]}, and the base has {target.libc_version}")
    return tuple(reasons)


def _look(wheel: Wheel, file: WheelFile) -> MachineCode | None:
    if file.size < 8:
        return None
    with wheel.open(file) as stream:
        start = stream.read(8)
    if not start.startswith(MAGIC):
        systems = [system for mark, system in _FOREIGN.items() if start.startswith(mark)]
        return MachineCode(file.path, systems[0]) if systems else None
    try:
        return MachineCode(
            file.path, "ELF", read_elf(lambda: wheel.open(file), f"{wheel.filename}: {file.path}")
        )
    except ElfError as error:
        return MachineCode(file.path, "ELF", fault=error.why)
