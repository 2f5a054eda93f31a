"""A wheel written anew: the same files, and nothing of the machine that wrote it before."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from hostbuild.errors import WheelError
from hostbuild.wheels.rewrite import rewrite_wheel
from hostbuild.wheels.wheel import read_wheel
from tests.languages.python.made import wheel

EPOCH = 315532800


def rewritten(source: Path, folder: Path, *, as_pure: bool = False) -> Path:
    folder.mkdir()
    found = read_wheel(str(source), source.name)
    return Path(rewrite_wheel(found, str(folder), epoch=EPOCH, as_pure=as_pure))


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    first = wheel(tmp_path, "demo", "1.0")
    (tmp_path / "again").mkdir()
    second = tmp_path / "again" / first.name
    with zipfile.ZipFile(first) as old, zipfile.ZipFile(second, "w", zipfile.ZIP_DEFLATED) as new:
        for each in reversed(old.infolist()):
            other = zipfile.ZipInfo(each.filename, (2026, 1, 2, 3, 4, 6))
            other.external_attr = 0o100600 << 16
            new.writestr(other, old.read(each))
    one, two = rewritten(first, tmp_path / "a"), rewritten(second, tmp_path / "b")
    assert one.read_bytes() == two.read_bytes()
    assert read_wheel(str(one), one.name).files == read_wheel(str(first), first.name).files
    assert {each.date_time for each in zipfile.ZipFile(one).infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_programs_stay_programs(tmp_path: Path) -> None:
    made = wheel(tmp_path, "demo", "1.0")
    marked = tmp_path / "b" / made.name
    marked.parent.mkdir()
    with zipfile.ZipFile(made) as old, zipfile.ZipFile(marked, "w") as new:
        for each in old.infolist():
            each.create_system = 3
            each.external_attr = (0o100755 if each.filename == "demo.py" else 0o100644) << 16
            new.writestr(each, old.read(each.filename))
    found = rewritten(marked, tmp_path / "c")
    assert [file.path for file in read_wheel(str(found), found.name).files if file.executable] == ["demo.py"]


@pytest.mark.parametrize("build", ["", "-7"])
def test_a_wheel_becomes_one_for_every_machine(tmp_path: Path, build: str) -> None:
    made = wheel(tmp_path, "demo", "1.0", "cp311-cp311-linux_x86_64")
    named = made.rename(tmp_path / f"demo-1.0{build}-cp311-cp311-linux_x86_64.whl")
    path = rewritten(named, tmp_path / "a", as_pure=True)
    assert path.name == f"demo-1.0{build}-py3-none-any.whl"
    found = read_wheel(str(path), path.name)
    assert (found.is_pure, {str(tag) for tag in found.tags}) == (True, {"py3-none-any"})
    told = zipfile.ZipFile(path).read("demo-1.0.dist-info/WHEEL").decode()
    assert told.splitlines() == [
        *("Wheel-Version: 1.0", "Generator: test", "Root-Is-Purelib: true", "Tag: py3-none-any")
    ]


def test_a_damaged_wheel_is_not_mended(tmp_path: Path) -> None:
    made = wheel(tmp_path, "demo", "1.0")
    data = made.read_bytes()
    made.write_bytes(data.replace(b"VERSION = '1.0'", b"VERSION = '1.1'"))
    with pytest.raises(WheelError):
        rewritten(made, tmp_path / "a")
