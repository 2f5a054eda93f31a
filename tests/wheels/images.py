"""Images made by hand: layers of a few files, a base with Python at its smallest, and what is learnt."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO, NamedTuple

import pytest

from hostbuild.errors import BaseImageError
from hostbuild.oci.platform import Platform
from hostbuild.wheels.base_python import BasePython, learn
from tests.wheels.elves import Made, elf

AMD64 = Platform("linux", "amd64")
X86, ARM64, ARM = 62, 183, 40
HARD_FLOAT = 0x400

PATH = "/usr/local/bin:/usr/local/sbin:/usr/bin:/bin"


class Link(NamedTuple):
    """A symbolic link."""

    target: str


class Hard(NamedTuple):
    """A hard link, to a path in the archive."""

    target: str


class Data(NamedTuple):
    """A file that is not executable."""

    data: bytes


Content = bytes | Link | Hard | Data | None
Opener = Callable[[], BinaryIO]


def archive(files: Mapping[str, Content]) -> bytes:
    """A tar archive of these: bytes are executable files, None is a directory."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for path, content in files.items():
            info = tarfile.TarInfo(path)
            info.mode = 0o755
            data = b""
            if isinstance(content, Link):
                info.type, info.linkname = tarfile.SYMTYPE, content.target
            elif isinstance(content, Hard):
                info.type, info.linkname = tarfile.LNKTYPE, content.target
            elif content is None:
                info.type = tarfile.DIRTYPE
            else:
                data, info.mode = (content.data, 0o644) if isinstance(content, Data) else (content, 0o755)
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def layer(files: Mapping[str, Content], *, packed: bool = True) -> Opener:
    """What opens a layer of these."""
    data = archive(files)
    return lambda: io.BytesIO(gzip.compress(data, 1) if packed else data)


def python(version: str, made: Made | None = None, *, before: bytes = b"\0") -> bytes:
    """An interpreter, or a libpython, that tells this version."""
    made = made or Made(
        machine=X86, needed=("libc.so.6",), interpreter="/lib64/ld-linux-x86-64.so.2", versions=GLIBC
    )
    other = b"\0" + b"3.2.0\0" + b"lib\0" + b"13.45.1\0"
    return elf(made) + other + before + version.encode() + b"\0end"


GLIBC = {"libc.so.6": ("GLIBC_2.17",)}


def library(soname: str, *defines: str, machine: int = X86, needed: Sequence[str] = ()) -> bytes:
    """A shared library."""
    return elf(Made(machine=machine, soname=soname, defines=defines, needed=needed))


def glibc(machine: int = X86, *, banner: str = "2.36", defines: str = "GLIBC_2.36") -> bytes:
    """libc.so.6 of glibc."""
    text = f"\0GNU C Library (Debian GLIBC {banner}-9) stable release version {banner}.\n\0".encode()
    bits, flags = (32, HARD_FLOAT) if machine == ARM else (64, 0)
    made = Made(bits=bits, machine=machine, flags=flags, soname="libc.so.6", defines=("GLIBC_2.2.5", defines))
    return elf(made) + text


def system(machine: int = X86) -> dict[str, Content]:
    """A small Debian of merged directories, without Python."""
    triplet = {X86: "x86_64-linux-gnu", ARM64: "aarch64-linux-gnu", ARM: "arm-linux-gnueabihf"}[machine]
    loader = {X86: "ld-linux-x86-64.so.2", ARM64: "ld-linux-aarch64.so.1", ARM: "ld-linux-armhf.so.3"}[
        machine
    ]
    home = f"usr/lib/{triplet}"
    bits = 32 if machine == ARM else 64
    return {
        "bin": Link("usr/bin"),
        "lib": Link("usr/lib"),
        "lib64": Link("usr/lib64"),
        "etc/ld.so.conf": Data(b"include /etc/ld.so.conf.d/*.conf\n"),
        "etc/ld.so.conf.d/libc.conf": Data(b"# libc default configuration\n/usr/local/lib\n"),
        "usr/local/lib": None,
        "usr/bin/dash": b"\x7fELF",
        "usr/bin/sh": Link("dash"),
        "usr/lib64/ld-linux-x86-64.so.2": Link(f"/lib/{triplet}/{loader}"),
        f"usr/lib/{loader}": Link(f"{triplet}/{loader}"),
        f"{home}/{loader}": elf(Made(bits=bits, machine=machine, soname=loader)),
        f"{home}/libc.so.6": glibc(machine),
        f"{home}/libz.so.1.2.13": elf(
            Made(bits=bits, machine=machine, soname="libz.so.1", defines=("ZLIB_1.2.9",))
        ),
        f"{home}/libz.so.1": Link("libz.so.1.2.13"),
    }


def upstream(minor: str = "3.13", version: str = "3.13.5") -> dict[str, Content]:
    """A Python below /usr/local that is made of a shared libpython."""
    name = f"libpython{minor}.so.1.0"
    started = Made(
        machine=X86, needed=(name, "libc.so.6"), interpreter="/lib64/ld-linux-x86-64.so.2", versions=GLIBC
    )
    return {
        "usr/local/bin/python": Link("python3"),
        "usr/local/bin/python3": Link(f"python{minor}"),
        f"usr/local/bin/python{minor}": elf(started),
        f"usr/local/lib/{name}": python(version, Made(machine=X86, soname=name, needed=("libc.so.6",))),
        f"usr/local/lib/python{minor}/os.py": Data(b""),
        f"usr/local/lib/python{minor}/site.py": Data(b"USER_SITE = None  # site-packages\n"),
    }


def of(*layers: Mapping[str, Content], path: str = PATH, platform: Platform = AMD64) -> BasePython:
    """What is learnt of these layers."""
    return learn([layer(each) for each in layers], path=path, platform=platform, label="example")


def refusal(*layers: Mapping[str, Content], path: str = PATH, platform: Platform = AMD64) -> BaseImageError:
    """The error instead, which names platform and image and says what to do."""
    with pytest.raises(BaseImageError) as caught:
        of(*layers, path=path, platform=platform)
    assert caught.value.platform == str(platform)
    assert "example" in caught.value.what
    assert caught.value.fix
    return caught.value


def paths(base: BasePython) -> list[str]:
    """Where its libraries are."""
    return [each.path for each in base.libraries]
