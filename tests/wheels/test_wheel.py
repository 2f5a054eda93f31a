"""A wheel says who it is and what it holds, and each of these must be true."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostbuild.errors import WheelError
from hostbuild.wheels.metadata import parse_headers
from hostbuild.wheels.record import parse_record, write_record
from hostbuild.wheels.wheel import Wheel, read_wheel
from tests.wheels.handmade import (
    DATA,
    FILENAME,
    INFO,
    METADATA,
    WHEEL,
    contents,
    make_wheel,
    member,
    record_of,
    row,
    write_zip,
)

FILES = {"demo/__init__.py": "X = 1\n", "demo/b.txt": "text"}


def read(path: Path) -> Wheel:
    return read_wheel(str(path), path.name)


def read_through(path: Path) -> None:
    wheel = read(path)
    for file in wheel.files:
        wheel.read(file)


def refusal(path: Path) -> WheelError:
    with pytest.raises(WheelError) as caught:
        read_through(path)
    assert path.name in caught.value.what
    return caught.value


def test_what_a_wheel_says(tmp_path: Path) -> None:
    metadata = METADATA + (
        "Requires-Dist: click>=8\nRequires-Dist: x; extra == 'y'\nRequires-Python: >=3.9\n"
        "Provides-Extra: y\n\nDescription: not a header\n"
    )
    points = "[console_scripts]\nrun = demo:main\n[other.group]\nA.b = demo.x\n"
    wheel = read(make_wheel(tmp_path, {**FILES, f"{INFO}/entry_points.txt": points}, metadata=metadata))
    assert (wheel.name, wheel.version, wheel.filename) == ("demo", "1.0", FILENAME)
    assert [str(tag) for tag in wheel.tags] == ["py3-none-any"]
    assert wheel.is_pure
    assert (wheel.info_dir, wheel.data_dir) == (INFO, "")
    assert wheel.requires == ("click>=8", "x; extra == 'y'")
    assert (wheel.requires_python, wheel.extras) == (">=3.9", ("y",))
    assert wheel.entry_points["other.group"] == {"A.b": "demo.x"}
    assert [command.name for command in wheel.commands] == ["run"]
    paths = [file.path for file in wheel.files]
    assert paths == sorted(paths, key=str.encode)
    assert f"{INFO}/RECORD" not in paths
    assert {file.path: wheel.read(file) for file in wheel.files}["demo/b.txt"] == b"text"


def test_names_are_compared_as_the_standards_do(tmp_path: Path) -> None:
    wheel = read(
        make_wheel(
            tmp_path,
            {"x.py": ""},
            filename="Foo_Bar-1.0.0-py3-none-any.whl",
            metadata="Metadata-Version: 2.1\nName: foo.BAR\nVersion: 1.0.0\n",
            info="foo_bar-1.0.0.dist-info",
        )
    )
    assert (wheel.name, wheel.version) == ("foo-bar", "1.0.0")


@pytest.mark.parametrize("origin", [f"https://u:p@host/x/{FILENAME}?a=b", f"/srv/{FILENAME}", FILENAME])
def test_a_wheel_in_the_cache_has_its_name_from_its_origin(tmp_path: Path, origin: str) -> None:
    path = make_wheel(tmp_path, FILES).rename(tmp_path / "abc123")
    wheel = read_wheel(str(path), origin)
    assert (wheel.filename, wheel.path) == (FILENAME, str(path))
    assert "u:p" not in repr(wheel)


@pytest.mark.parametrize(
    ("text", "pure"),
    [(WHEEL, True), (WHEEL.replace("true", "FALSE"), False), (WHEEL.replace("1.0", "1.9"), True)],
)
def test_root_is_purelib(tmp_path: Path, text: str, pure: bool) -> None:
    assert read(make_wheel(tmp_path, FILES, wheel=text)).is_pure is pure


def test_a_wheel_for_one_platform_is_not_pure(tmp_path: Path) -> None:
    assert not read(make_wheel(tmp_path, FILES, filename="demo-1.0-py3-none-linux_armv7l.whl")).is_pure


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (WHEEL.replace("1.0", "2.0"), "1.x"),
        (WHEEL.replace("1.0", "1"), "1.x"),
        (WHEEL.replace("1.0", "one"), "1.x"),
        ("Root-Is-Purelib: true\n", "no Wheel-Version"),
        ("Wheel-Version: 1.0\n", "no Root-Is-Purelib"),
        (WHEEL + "Wheel-Version: 1.0\n", "more than one"),
        (WHEEL.replace("true", "perhaps"), "perhaps"),
        ("", "no Wheel-Version"),
    ],
)
def test_a_wrong_wheel_file_is_refused(tmp_path: Path, text: str, word: str) -> None:
    error = refusal(make_wheel(tmp_path, FILES, wheel=text))
    assert word in error.why
    assert error.extra["member"] == f"{INFO}/WHEEL"


@pytest.mark.parametrize(
    ("metadata", "word"),
    [
        (METADATA.replace("demo", "other"), "'other'"),
        (METADATA.replace("1.0", "1.1"), "'1.1'"),
        (METADATA.replace("Version: 1.0\n", "Version: new\n"), "'new'"),
        ("Metadata-Version: 2.1\nVersion: 1.0\n", "no Name"),
        ("Metadata-Version: 2.1\nName: demo\n", "no Version"),
        (METADATA + "Name: demo\n", "more than one Name"),
        ("", "no Name"),
    ],
)
def test_metadata_that_does_not_fit_is_refused(tmp_path: Path, metadata: str, word: str) -> None:
    error = refusal(make_wheel(tmp_path, FILES, metadata=metadata))
    assert word in error.why
    assert error.extra["member"] == f"{INFO}/METADATA"


def test_directories_of_others_are_refused(tmp_path: Path) -> None:
    assert "no directory" in refusal(write_zip(tmp_path / FILENAME, [("demo.py", b"")])).why
    assert "no directory" in refusal(write_zip(tmp_path / FILENAME, [])).why
    assert "does not belong" in refusal(make_wheel(tmp_path, FILES, info="demo-2.0.dist-info")).why
    assert "does not belong" in refusal(make_wheel(tmp_path, FILES, info="other-1.0.dist-info")).why
    assert "does not belong" in refusal(make_wheel(tmp_path, FILES, info="demo.dist-info")).why
    assert "2 directories" in refusal(make_wheel(tmp_path, {**FILES, "other-1.dist-info/x": ""})).why
    assert "does not belong" in refusal(make_wheel(tmp_path, {**FILES, "other-1.0.data/data/x": ""})).why
    assert "2 directories" in refusal(make_wheel(tmp_path, {f"{DATA}/data/x": "", "b.data/data/y": ""})).why


@pytest.mark.parametrize("missing", ["METADATA", "WHEEL", "RECORD"])
def test_a_missing_part_is_named(tmp_path: Path, missing: str) -> None:
    whole = contents(FILES)
    members = [*whole.items(), (f"{INFO}/RECORD", record_of(whole).encode())]
    path = write_zip(tmp_path / FILENAME, [pair for pair in members if not pair[0].endswith(missing)])
    assert missing in refusal(path).why


GOOD = record_of(contents(FILES))
LINE = row("demo/b.txt", b"text")


@pytest.mark.parametrize(
    ("record", "word"),
    [
        (GOOD.replace(LINE, ""), "not in RECORD"),
        (GOOD + row("demo/gone.py", b""), "not in the wheel"),
        (GOOD + row("../outside.py", b""), "not in the wheel"),
        (GOOD.replace(LINE, row("demo/b.txt", b"test")), "SHA-256"),
        (GOOD.replace(LINE, row("demo/b.txt", b"longer")), "bytes"),
        (GOOD.replace(LINE, "demo/b.txt,,\n"), "no digest"),
        (GOOD.replace(LINE, row("demo/b.txt", b"text", "md5")), "sha256 or better"),
        (GOOD.replace(LINE, row("demo/b.txt", b"text", "sha1")), "sha256 or better"),
        (GOOD.replace(LINE, "demo/b.txt,sha256=short,4\n"), "none"),
        (GOOD.replace(LINE, "demo/b.txt,sha256=\xe4,4\n"), "none"),
        (GOOD.replace(LINE, LINE.replace(",4", ",-4")), "size"),
        (GOOD.replace(LINE, LINE.replace(",4", "," + "9" * 5000)), "size"),
        (GOOD.replace(LINE, "demo/b.txt\n"), "three fields"),
        (GOOD + row("demo/b.txt", b"other"), "twice"),
        (GOOD + '"open', "understood"),
        (GOOD + "x" * 200_000 + ",,\n", "understood"),
        (GOOD.replace("demo/b.txt", "demo\\b.txt"), "not in the wheel"),
        ("", "not in RECORD"),
    ],
)
def test_a_record_that_is_wrong_is_refused(tmp_path: Path, record: str, word: str) -> None:
    error = refusal(make_wheel(tmp_path, FILES, record=record))
    assert word in error.why
    assert len(str(error)) < 600


def test_a_record_may_be_written_in_other_ways(tmp_path: Path) -> None:
    sizeless = LINE.rpartition(",")[0] + ",\n"
    for line in (
        LINE + LINE,
        sizeless,
        row("demo/b.txt", b"text", "sha512"),
        row("demo/b.txt", b"text", "sha384"),
    ):
        text = GOOD.replace(LINE, line).replace("\n", "\r\n")
        wheel = read(make_wheel(tmp_path, FILES, record=text))
        (file,) = (file for file in wheel.files if file.path == "demo/b.txt")
        assert file.digest == "982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1"


def test_another_digest_than_sha256_is_held_against_the_bytes(tmp_path: Path) -> None:
    wrong = GOOD.replace(LINE, row("demo/b.txt", b"test", "sha512"))
    assert "SHA512" in refusal(make_wheel(tmp_path, FILES, record=wrong)).why


def test_signatures_need_not_be_listed(tmp_path: Path) -> None:
    extra = [(member(f"{INFO}/RECORD.jws"), b"{}"), (member(f"{INFO}/RECORD.p7s"), b"x")]
    wheel = read(make_wheel(tmp_path, FILES, extra=extra))
    assert not any("RECORD" in file.path for file in wheel.files)
    other = [(member("demo/RECORD.jws"), b"{}")]
    assert "not in RECORD" in refusal(make_wheel(tmp_path, FILES, extra=other)).why


@pytest.mark.parametrize(
    "points",
    [
        "[console_scripts]\nrun = demo\n",
        "[console_scripts]\nrun = demo:\n",
        "[console_scripts]\nrun = demo:main; import os\n",
        "[console_scripts]\nrun = demo:main()\n",
        "[console_scripts]\nrun = demo:class\n",
        "[console_scripts]\nrun = 1demo:main\n",
        "[console_scripts]\nrun = demo..x:main\n",
        "[console_scripts]\n../run = demo:main\n",
        "[console_scripts]\na/run = demo:main\n",
        "[console_scripts]\n/run = demo:main\n",
        "[console_scripts]\n.. = demo:main\n",
        "[console_scripts]\na\\b = demo:main\n",
        "[console_scripts]\nrun = demo:main\n[gui_scripts]\nrun = demo:other\n",
        "[console_scripts]\nrun = demo:main\nrun = demo:other\n",
        "run = demo:main\n",
        "[console_scripts\n",
        "[console_scripts]\nrun = \xff:main\n".encode("latin-1"),
    ],
)
def test_wrong_entry_points_are_refused(tmp_path: Path, points: str | bytes) -> None:
    error = refusal(make_wheel(tmp_path, {**FILES, f"{INFO}/entry_points.txt": points}))
    assert error.extra["member"] == f"{INFO}/entry_points.txt"


def test_headers_are_read_as_mail_is() -> None:
    data = b"A: 1\r\nb: two\r\n lines\r\nA:3\r\nEmpty:\r\n\r\nA: body\r\n"
    assert parse_headers(data) == {"a": ("1", "3"), "b": ("two\nlines",), "empty": ("",)}
    assert parse_headers(b"Author: M\xfcller\n") == {"author": ("M\ufffdller",)}


def test_a_record_is_written_sorted_and_can_be_read() -> None:
    files = [("b,c.py", "ab" * 32, 5), ("B", "cd" * 32, 0), ('a"q"', "00" * 32, 1), ("ü", "11" * 32, 2)]
    data = write_record(files, "demo.dist-info/RECORD")
    rows = parse_record(data)
    assert list(rows) == sorted(rows, key=str.encode)
    for path, digest, size in files:
        assert (rows[path].digest, rows[path].size) == (digest, size)
    assert rows["demo.dist-info/RECORD"].digest == ""
    assert data == write_record(reversed(files), "demo.dist-info/RECORD")
