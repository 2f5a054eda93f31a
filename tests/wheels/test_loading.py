"""What a base lacks for the machine code in wheels: case by case, and held against the loader itself."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import pytest

from hostbuild.errors import WheelError
from hostbuild.oci.platform import Platform
from hostbuild.wheels import loading
from hostbuild.wheels.base_python import BasePython, Library, learn
from hostbuild.wheels.loading import Unloadable, look
from hostbuild.wheels.machinecode import MachineCode
from hostbuild.wheels.wheel import Wheel, read_wheel
from tests.rig.layout import blob_path
from tests.rig.python_base import python_base, run_in
from tests.wheels.elves import Made, elf
from tests.wheels.handmade import DATA, make_wheel
from tests.wheels.images import ARM64, X86, Data, layer
from tests.wheels.published import AARCH64, Published, wheel_file

AMD64 = Platform("linux", "amd64")
TRIPLET = "/lib/x86_64-linux-gnu"


def lib(name: str, *defines: str, bits: int = 64, machine: str = "x86_64", soname: str = "") -> Library:
    path = name if "/" in name else f"{TRIPLET}/{name}"
    return Library(path, machine, bits, soname or os.path.basename(name), defines)


def base_with(*libraries: Library, libc: str = "glibc", version: str = "2.36") -> BasePython:
    return BasePython(
        *("3.13.5", libc, version, "/usr/local/bin/python3", "/usr/local/lib/python3.13/site-packages"),
        *("/bin/sh", (TRIPLET,), libraries),
    )


LIBC = lib("libc.so.6", "GLIBC_2.17", "GLIBC_2.36", "GLIBC_ABI_DT_RELR")
LOADER = lib("/lib64/ld-linux-x86-64.so.2")
CXX = lib("libstdc++.so.6", "GLIBCXX_3.4", "GLIBCXX_3.4.9", "GLIBCXX_3.4.30", "CXXABI_1.3.13")
BASE = base_with(LIBC, LOADER, CXX)


def wheel_of(directory: Path, files: Mapping[str, bytes], name: str = "demo") -> Wheel:
    filename = f"{name}-1.0-py3-none-any.whl"
    path = make_wheel(
        directory,
        files,
        filename=filename,
        metadata=f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        info=f"{name}-1.0.dist-info",
    )
    return read_wheel(str(path), filename)


def reasons(*wheels: Wheel, base: BasePython = BASE) -> list[tuple[str, str]]:
    return [(each.file, each.reason) for each in look(wheels, base, base.target(AMD64))]


def module(*needed: str, runpath: str = "", rpath: str = "", soname: str = "") -> bytes:
    return elf(Made(machine=X86, needed=needed, runpath=runpath, rpath=rpath, soname=soname))


def asking(library: str, *versions: str) -> bytes:
    return elf(Made(machine=X86, needed=(library,), versions={library: versions}))


def test_what_is_in_the_base(tmp_path: Path) -> None:
    wheel = wheel_of(
        tmp_path,
        {
            "demo/a.so": module("libc.so.6", "libexpat.so.1", "libstdc++.so.6", "libexpat.so.1"),
            "demo/b.so": module("ld-linux-x86-64.so.2", f"{TRIPLET}/libc.so.6", "/opt/libx.so"),
            "demo/tool": elf(Made(machine=X86, kind=2, interpreter="/lib64/ld-linux-x86-64.so.2")),
            "demo/other": elf(Made(machine=X86, interpreter="/lib/ld-musl-x86_64.so.1")),
            "demo/text.py": b"import this",
            "demo/x.o": elf(Made(machine=X86, kind=1, needed=("libgone.so",))),
            "demo/gui.exe": b"MZ" + bytes(100),
            "demo/lib.a": b"!<arch>\n" + bytes(100),
        },
    )
    assert look([wheel], BASE, BASE.target(AMD64)) == (
        Unloadable(wheel.filename, "demo", "demo/a.so", "libexpat.so.1 is not in the base"),
        Unloadable(wheel.filename, "demo", "demo/b.so", "/opt/libx.so is not in the base"),
        Unloadable(
            wheel.filename, "demo", "demo/other", "the loader /lib/ld-musl-x86_64.so.1 is not in the base"
        ),
    )


def test_the_wheels_have_libraries_of_their_own(tmp_path: Path) -> None:
    first = wheel_of(
        tmp_path,
        {
            "demo/sub/a.so": module("libbundled-1234.so.1", runpath="$ORIGIN/../../demo.libs:/usr/lib"),
            "demo.libs/libbundled-1234.so.1": module("libinner.so", rpath="${ORIGIN}"),
            "demo.libs/libinner.so": module("libc.so.6"),
            f"{DATA}/platlib/demo/b.so": module("libinner.so", "liboff.so", runpath="$ORIGIN/../demo.libs"),
            f"{DATA}/data/lib/libdata.so": module(),
            "demo/c.so": module("libdata.so", runpath="$ORIGIN/../../lib"),
            "demo/d.so": module("../demo.libs/libinner.so", "$ORIGIN/e.so", "$ORIGINAL/e.so"),
            "demo/e.so": module(),
        },
    )
    second = wheel_of(tmp_path, {"other/a.so": module("libshared.so.3", "libinner.so")}, "other")
    third = wheel_of(tmp_path, {"third/libshared-x.so": module(soname="libshared.so.3")}, "third")
    assert reasons(first, second, third) == [
        ("demo-1.0.data/platlib/demo/b.so", "liboff.so is not in the base"),
        ("demo/d.so", "../demo.libs/libinner.so is not in the base"),
        ("demo/d.so", "$ORIGINAL/e.so is not in the base"),
    ]
    # By itself the second has nothing.
    assert [reason for _, reason in reasons(second)] == [
        "libshared.so.3 is not in the base",
        "libinner.so is not in the base",
    ]


def test_versions_of_libraries(tmp_path: Path) -> None:
    wheel = wheel_of(
        tmp_path,
        {
            "a.so": asking(
                "libstdc++.so.6", "GLIBCXX_3.4.9", "GLIBCXX_3.4.31", "GLIBCXX_3.4.32", "GLIBCXX_3.4.4"
            ),
            "b.so": asking("libstdc++.so.6", "CXXABI_1.3.14", "CXXABI_ARM", "GLIBCXX_3.4.30"),
            "c.so": asking("libc.so.6", "GLIBC_2.17", "GLIBC_2.38", "GLIBC_2.37"),
            "d.so": asking("libc.so.6", "GLIBC_PRIVATE", "GLIBC_ABI_DT_RELR"),
            "e.so": asking("ld-linux-x86-64.so.2", "ANY_1"),  # it tells no versions at all
            "f.so": asking("libgone.so", "GONE_1"),
            "g.so": asking("libown.so", "OWN_2"),
            "libown.so": elf(Made(machine=X86, soname="libown.so", defines=("OWN_1",))),
        },
    )
    assert reasons(wheel) == [
        ("a.so", "needs GLIBCXX_3.4.32 of libstdc++.so.6, and the base's has up to GLIBCXX_3.4.30"),
        ("b.so", "needs CXXABI_1.3.14 of libstdc++.so.6, and the base's has up to CXXABI_1.3.13"),
        ("b.so", "needs CXXABI_ARM of libstdc++.so.6, and the base's has no such versions"),
        ("c.so", "it needs glibc 2.38, and the base has 2.36"),
        ("d.so", "needs GLIBC_PRIVATE of libc.so.6, and the base's has no such versions"),
        ("f.so", "libgone.so is not in the base"),
        ("g.so", "needs OWN_2 of libown.so, and that of demo-1.0-py3-none-any.whl has up to OWN_1"),
    ]


def test_only_libraries_of_the_same_machine_count(tmp_path: Path) -> None:
    wheel = wheel_of(
        tmp_path,
        {
            "a.so": module("libx.so", "liby.so", runpath="$ORIGIN"),
            "arm.so": elf(
                Made(machine=ARM64, needed=("libgone.so",), versions={"libc.so.6": ("GLIBC_2.99",)})
            ),
            "liby.so": elf(Made(machine=ARM64, soname="liby.so")),
            "bad.so": elf(Made(machine=X86, needed=("a",)))[:150],
        },
    )
    base = base_with(LIBC, lib("libx.so", machine="i386", bits=32))
    assert reasons(wheel, base=base) == [
        ("a.so", "libx.so is not in the base"),
        ("a.so", "liby.so is not in the base"),
        ("arm.so", "it is for aarch64 (64 bits)"),
        ("bad.so", "it is damaged: it ends too early"),
        ("liby.so", "it is for aarch64 (64 bits)"),
    ]


def test_musl(tmp_path: Path) -> None:
    wheel = wheel_of(
        tmp_path,
        {
            "a.so": module("libc.so", "libc.musl-x86_64.so.1", "libpthread.so.0", "libgcc_s.so.1"),
            "b.so": asking("libc.so.6", "GLIBC_2.17"),
        },
    )
    musl = base_with(lib("/lib/ld-musl-x86_64.so.1"), libc="musl", version="1.2.5")
    assert reasons(wheel, base=musl) == [
        ("a.so", "libgcc_s.so.1 is not in the base"),
        ("b.so", "it needs glibc, and the base has musl"),
    ]
    assert ("a.so", "libc.musl-x86_64.so.1 is not in the base") in reasons(wheel)


def test_libpython_is_there_where_the_interpreter_is_made_of_it(tmp_path: Path) -> None:
    wheel = wheel_of(tmp_path, {"a.so": module("libpython3.13.so.1.0")})
    assert reasons(wheel) == [("a.so", "libpython3.13.so.1.0 is not in the base")]
    nameless = base_with(LIBC, lib(f"{TRIPLET}/libpython.so", soname="libpython3.13.so.1.0"))
    assert reasons(wheel, base=nameless) == reasons(wheel)  # the loader searches by the files' names
    beside = base_with(LIBC, lib("/opt/py/lib/libpython.so", soname="libpython3.13.so.1.0"))
    assert reasons(wheel, base=beside) == []


def test_each_wheel_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = wheel_of(tmp_path, {"a.so": module("libgone.so")})
    memo: dict[str, tuple[MachineCode, ...]] = {}
    first = look([wheel], BASE, BASE.target(AMD64), memo=memo)
    monkeypatch.setattr(loading, "find_machine_code", None)
    assert look([wheel], BASE, BASE.target(AMD64), memo=memo) == first != ()


def test_a_damaged_wheel_is_an_error(tmp_path: Path) -> None:
    wheel = wheel_of(tmp_path, {"a.so": module()})
    Path(wheel.path).write_bytes(b"PK")
    with pytest.raises(WheelError):
        look([wheel], BASE, BASE.target(AMD64))


LOAD = """
import ctypes, os, sys
for path in sys.argv[1:]:
    if not os.fork():
        try:
            ctypes.CDLL(path)
        except OSError as error:
            print(path, error, sep="|", flush=True)
        os._exit(0)
    os.wait()
"""

REAL = tuple(
    Published(name, AARCH64)
    for name in ("numpy==2.5.5", "greenlet==3.5.6", "markupsafe==3.0.4", "pydantic-core==2.50.4")
)


def opener(path: Path) -> Callable[[], BinaryIO]:
    return lambda: path.open("rb")


@pytest.mark.parametrize("gone", [(), ("libstdc++.so.6", "libgcc_s.so.1")])
def test_the_loader_of_debian_says_the_same(gone: tuple[str, ...], tmp_path: Path) -> None:
    """Each library of published wheels is opened by an emulated loader, in the base that was looked at."""
    base, platform = python_base(), Platform("linux", "arm64")
    home = "usr/lib/aarch64-linux-gnu"
    blobs = [blob_path(base.layout, each["digest"]) for each in base.image("linux/arm64").manifest["layers"]]
    layers = [opener(blob) for blob in blobs]
    layers.append(layer({f"{home}/.wh.{name}": Data(b"") for name in gone}))
    learnt = learn(layers, path="", platform=platform, label="debian")
    files = [wheel_file(each) for each in REAL]
    memo: dict[str, tuple[MachineCode, ...]] = {}
    target = learnt.target(platform)
    told = look([read_wheel(str(each), each.name) for each in files], learnt, target, memo=memo)
    root = base.copy_root("linux/arm64", tmp_path / "root")
    for name in gone:
        (root / home / name).unlink(missing_ok=True)
    for each in files:
        with zipfile.ZipFile(each) as archive:
            archive.extractall(root / "opt/python/site-packages")
    paths = [f"/opt/python/site-packages/{code.path}" for found in memo.values() for code in found]
    assert len(paths) > 20
    code, output = run_in(root, "/usr/bin/python3", "-c", LOAD, *paths, env={})
    assert code == 0, output
    lines = [line.removeprefix("/opt/python/site-packages/").split("|", 1) for line in output.splitlines()]
    lacking = {path: text for path, text in lines if "cannot open shared object" in text}
    assert "version `" not in output
    # Those that need a library of a wheel that lacks something fail with it.
    assert {each.file for each in told} <= set(lacking)
    assert {each.reason.split()[0] for each in told} == {text.partition(":")[0] for text in lacking.values()}
    assert "markupsafe" not in {each.package for each in told}
    assert not gone or "libstdc++.so.6 is not in the base" in {each.reason for each in told}
