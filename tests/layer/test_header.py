from __future__ import annotations

import gzip
import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild.errors import SourceError
from hostbuild.layer import header
from hostbuild.model import Entry
from hostbuild.records import replace
from tests.layer.helpers import by_path, contents, file, folder, layer, link, members

GIB = 1 << 30

NAMES = {
    "100 bytes": "n" * 100,
    "101 bytes": "n" * 101,
    "split": "d" * 155 + "/" + "n" * 100,
    "split directory": "d" * 155 + "/" + "n" * 99,
    "prefix too long": "d" * 156 + "/" + "n" * 100,
    "name too long": "d" * 20 + "/" + "n" * 101,
    "deep": "/".join(["part"] * 51),
    "very deep": "/".join(["more"] * 400),
    "one long": "n" * 255,
    "utf-8": "gr\u00fc\u00dfe/\U0001f600",
    "long utf-8": "\u00fc" * 60,
    "very long utf-8": "\u00fc" * 127 + "/" + "\u00fc" * 127,
    "not utf-8": "caf\udce9",
    "long not utf-8": "d" * 90 + "/\udcff" + "n" * 90,
    "very long not utf-8": "\udcff" * 255 + "/x",
    "newline": "a\nb",
    "equals": "\u00fc=1\n2 path=x\n",
    "spaces": " a b ",
}


def plain(entries: list[Entry]) -> bytes:
    return gzip.decompress(layer(entries)[1])


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
@pytest.mark.parametrize("kind", ["file", "dir", "link"])
def test_tarfile_gives_the_names_back(name: str, kind: str) -> None:
    entry = {"file": file(name, b"data"), "dir": folder(name), "link": link(name, name)}[kind]
    (found,) = members(plain([entry]))
    assert found.name == name
    assert (found.isreg(), found.isdir(), found.issym()) == (kind == "file", kind == "dir", kind == "link")
    assert found.linkname == (name if kind == "link" else "")
    assert (found.uid, found.gid, found.mtime) == (1000, 1000, 0)


def test_gnu_tar_gives_the_names_back(tmp_path: Path) -> None:
    entries = by_path([file(name, name.encode("utf-8", "surrogateescape")) for name in NAMES.values()])
    links = [link(f"~link{number:02}", name) for number, name in enumerate(NAMES.values())]
    archive = plain(by_path([*entries, *links]))
    command = ["tar", "--extract", "--file=-", "--directory", str(tmp_path), "--no-same-owner"]
    subprocess.run(command, input=archive, check=True, env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"})
    for name in NAMES.values():
        assert (tmp_path / name).read_bytes() == name.encode("utf-8", "surrogateescape")
    for number, name in enumerate(NAMES.values()):
        assert str((tmp_path / f"~link{number:02}").readlink()) == name


def test_gnu_tar_lists_it() -> None:
    archive = plain([folder("d"), file("d/f", b"12345", mode=0o4755), link("d/l", "f")])
    command = ["tar", "--list", "--verbose", "--utc", "--full-time", "--numeric-owner", "--file=-"]
    listed = subprocess.run(command, input=archive, check=True, stdout=subprocess.PIPE).stdout.decode()
    assert [line.split() for line in listed.splitlines()] == [
        ["drwxr-xr-x", "1000/1000", "0", "1970-01-01", "00:00:00", "d/"],
        ["-rwsr-xr-x", "1000/1000", "5", "1970-01-01", "00:00:00", "d/f"],
        ["lrwxrwxrwx", "1000/1000", "0", "1970-01-01", "00:00:00", "d/l", "->", "f"],
    ]


def records(archive: bytes) -> dict[str, str]:
    (found,) = members(archive)
    return dict(found.pax_headers)


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("100 bytes", set()),
        ("split", set()),
        ("not utf-8", set()),
        ("long not utf-8", set()),
        ("utf-8", {"path"}),
        ("101 bytes", {"path"}),
        ("name too long", {"path"}),
        ("prefix too long", {"path"}),
        ("very long not utf-8", {"path", "hdrcharset"}),
    ],
)
def test_pax_only_where_it_must_be(name: str, keys: set[str]) -> None:
    archive = plain([file(NAMES[name])])
    assert set(records(archive)) == keys
    assert (len(archive) == 1536) == (not keys)


@pytest.mark.parametrize(
    ("target", "keys"),
    [
        ("t" * 100, set()),
        ("t" * 101, {"linkpath"}),
        ("\u00fc", {"linkpath"}),
        ("\udcff", set()),
        ("\udcff" * 101, {"linkpath", "hdrcharset"}),
        ("../../x", set()),
        ("/absolute", set()),
    ],
)
def test_link_targets_are_kept_raw(target: str, keys: set[str]) -> None:
    archive = plain([link("l", target)])
    assert members(archive)[0].linkname == target
    assert set(records(archive)) == keys


def block(size: int) -> tarfile.TarInfo:
    """What tarfile makes of the header of a file of this size, without the file."""
    data = header.header(b"f", header.FILE, header.owner_fields(0o644, 0, 0), size)
    with tarfile.open(fileobj=io.BytesIO(data + header.END)) as archive:
        info = archive.next()
    assert info is not None
    return info


@pytest.mark.parametrize("size", [0, 1, 8 * GIB - 1, 8 * GIB, 9 * GIB, 1 << 50])
def test_size_of_any_number(size: int) -> None:
    info = block(size)
    assert info.size == size
    assert ("size" in info.pax_headers) == (size >= 8 * GIB)


def test_negative_size_is_refused() -> None:
    with pytest.raises(SourceError, match="negative"):
        layer([replace(file("a"), size=-1)])


@pytest.mark.parametrize("number", [0, 1000, 0o7777777, 0o7777777 + 1, 4_000_000, (1 << 31) - 1])
def test_owner_of_any_number(number: int) -> None:
    archive = plain([replace(file("a"), uid=number, gid=number)])
    (found,) = members(archive)
    assert (found.uid, found.gid) == (number, number)
    assert set(records(archive)) == ({"uid", "gid"} if number > 0o7777777 else set())


@pytest.mark.parametrize("wrong", [{"uid": -1}, {"gid": 1 << 31}, {"mode": 0o100644}, {"mode": -1}])
def test_numbers_that_no_header_holds_are_refused(wrong: dict[str, int]) -> None:
    entry = file("a")
    for name, value in wrong.items():
        object.__setattr__(entry, name, value)
    with pytest.raises(SourceError) as caught:
        layer([entry])
    assert "/src/a" in caught.value.what


@pytest.mark.parametrize("target", ["", "a\0b", "\ud800"])
def test_targets_that_are_none_are_refused(target: str) -> None:
    with pytest.raises(SourceError) as caught:
        layer([link("l", target)])
    assert "/src/l" in caught.value.what


def test_header_fields_are_as_posix_has_them() -> None:
    data = header.header(b"d/f", header.FILE, header.owner_fields(0o755, 1000, 100), 10)
    assert len(data) == 512
    assert data[:4] == b"d/f\0"
    assert data[100:148] == b"0000755\x000001750\x000000144\x0000000000012\x0000000000000\0"
    assert data[156:157] == b"0"
    assert data[257:265] == b"ustar\x0000"
    assert data[265:329] == bytes(64)
    assert data[329:345] == b"0000000\x000000000\0"
    assert data[345:] == bytes(167)
    blank = data[:148] + b" " * 8 + data[156:]
    assert data[148:156] == b"%06o\0 " % sum(blank)


def test_directory_names_end_in_a_slash() -> None:
    assert plain([folder("d" * 99)])[:101] == b"d" * 99 + b"/0"
    # One byte more and the slash needs a record.
    assert set(records(plain([folder("d" * 100)]))) == {"path"}


octets = st.binary(min_size=1, max_size=130).map(
    lambda data: data.replace(b"/", b"_").replace(b"\0", b"_").decode("utf-8", "surrogateescape")
)
part = (octets | st.text("ab\u00fc\u4e2d", min_size=1, max_size=110)).filter(
    lambda text: text not in {".", ".."}
)
path = st.lists(part, min_size=1, max_size=4).map("/".join)


@settings(max_examples=120, deadline=None)
@given(paths=st.lists(path, min_size=1, max_size=5, unique=True), target=path, size=st.integers(0, 600))
def test_any_names_come_back(paths: list[str], target: str, size: int) -> None:
    files = by_path(file(name, b"x" * size) for name in {name.replace("/", "|") for name in paths})
    archive = plain(files)
    assert contents(archive) == {entry.path: b"x" * size for entry in files}
    (nested,) = members(plain([file(paths[0])]))
    assert nested.name == paths[0]
    (found,) = members(plain([link(paths[0], target)]))
    assert (found.name, found.linkname) == (paths[0], target)
