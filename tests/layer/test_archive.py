"""Tar files that hold images: what is written, and what is read out of anybody's."""

from __future__ import annotations

import io
import os
import random
import subprocess
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.errors import HostbuildError, LocalImageError, SourceError
from hostbuild.layer import archive as archive_module
from hostbuild.layer.archive import ArchiveReader, write_archive
from hostbuild.layer.header import BLOCK, END
from hostbuild.model import Entry
from tests.layer.helpers import file, folder, members


def written(*entries: Entry) -> bytes:
    out: list[bytes] = []
    write_archive(entries, out.append)
    return b"".join(out)


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, target: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, len(data)
    return info.tobuf(tarfile.PAX_FORMAT) + data + bytes(-len(data) % BLOCK)


def archive_of(path: Path, *parts: bytes, end: bytes = END) -> str:
    path.write_bytes(b"".join(parts) + end)
    return str(path)


def test_others_read_what_is_written() -> None:
    data = written(folder("blobs"), file("blobs/one", b"1" * 700), file("index.json", b"{}"))
    assert [(info.name, info.size, info.mtime, info.uname) for info in members(data)] == [
        ("blobs", 0, 0, ""),
        ("blobs/one", 700, 0, ""),
        ("index.json", 2, 0, ""),
    ]
    assert data.endswith(END)
    assert len(data) % BLOCK == 0


def test_the_bytes_depend_on_the_entries_alone() -> None:
    assert written(file("a", b"x")) == written(file("a", b"x", step=1))


def test_names_out_of_order_are_refused() -> None:
    with pytest.raises(SourceError, match="later name"):
        written(file("b"), file("a"))


def test_our_own_is_read(tmp_path: Path) -> None:
    path = archive_of(
        tmp_path / "x.tar",
        written(folder("d"), file("d/long" * 40, b"deep"), file("e", b"e" * 5000)),
        end=b"",
    )
    with ArchiveReader(path) as reader:
        assert reader.is_whole
        assert {name: size for name, (_, size) in reader.members.items()} == {"d/long" * 40: 4, "e": 5000}
        assert reader.read("d/long" * 40, 10) == b"deep"
        with reader.open("e", 4990) as stream:
            assert stream.read() == b"e" * 10
        with reader.open("e", 9999) as stream:
            assert stream.read() == b""


@pytest.mark.parametrize("dialect", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_dialect_is_read(tmp_path: Path, dialect: int) -> None:
    names = ["short", "p/" * 60 + "prefix", "ümlaut", "d" * 90 + "/" + "n" * 90]
    if dialect != tarfile.USTAR_FORMAT:
        names.append("x" * 300)
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=dialect) as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(name)
            tar.addfile(info, io.BytesIO(b"#" * len(name)))
    with ArchiveReader(str(path)) as reader:
        assert {name: size for name, (_, size) in reader.members.items()} == {
            name: len(name) for name in names
        }


def test_what_gnu_tar_writes_is_read(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "blobs").mkdir(parents=True)
    (source / "blobs/b").write_bytes(b"bytes")
    (source / ("n" * 120)).write_bytes(b"long")
    os.link(source / "blobs/b", source / "same")
    subprocess.run(["tar", "-C", source, "-cf", tmp_path / "x.tar", "."], check=True)
    with ArchiveReader(str(tmp_path / "x.tar")) as reader:
        assert reader.read("blobs/b", 10) == reader.read("./same", 10) == b"bytes"
        assert reader.read("n" * 120, 10) == b"long"


@given(st.dictionaries(st.text("ab/ü\udc80", min_size=1, max_size=130), st.binary(max_size=1200), max_size=6))
def test_it_finds_what_tarfile_finds(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    path = tmp_path_factory.mktemp("x") / "x.tar"
    path.write_bytes(buffer.getvalue())
    plain = {name: data for name, data in files.items() if name == "/".join(filter(None, name.split("/")))}
    with ArchiveReader(str(path)) as reader:
        for name, data in plain.items():
            twice = ["/".join(filter(None, other.split("/"))) for other in files if other[0] != "/"]
            if twice.count(name) == 1:
                assert reader.read(name, 1200) == data


def test_members_of_more_than_eight_gigabytes(tmp_path: Path) -> None:
    size = (9 << 30) + 5
    for dialect in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        info = tarfile.TarInfo("huge")
        info.size = size
        path = tmp_path / f"{dialect}.tar"
        with path.open("wb") as out:  # the file has a hole where the bytes would be
            out.write(info.tobuf(dialect))
            out.seek(size - 3, os.SEEK_CUR)
            out.write(b"end")
            out.seek(-size % BLOCK, os.SEEK_CUR)
            out.write(member("after", b"a") + END)
        with ArchiveReader(str(path)) as reader:
            assert reader.size("huge") == size
            assert reader.read("after", 1) == b"a"
            with reader.open("huge", size - 4) as stream:
                assert stream.read() == b"\0end"


def test_links_are_resolved_inside(tmp_path: Path) -> None:
    path = archive_of(
        tmp_path / "x.tar",
        member("one/layer.tar", b"layer"),
        member("two/layer.tar", kind=tarfile.SYMTYPE, target="../one/layer.tar"),
        member("three/layer.tar", kind=tarfile.SYMTYPE, target="./../two//layer.tar"),
        member("hard", kind=tarfile.LNKTYPE, target="one/layer.tar"),
        member("dangling", kind=tarfile.SYMTYPE, target="nothing"),
    )
    with ArchiveReader(path) as reader:
        for name in ("two/layer.tar", "three/layer.tar", "hard"):
            assert reader.read(name, 10) == b"layer"
        assert reader.size("dangling") is None
        with pytest.raises(LocalImageError, match="dangling"):
            reader.open("dangling")


@pytest.mark.parametrize("target", ["/etc/passwd", "../x", "a/../../x"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_nothing_outside_is_read(tmp_path: Path, target: str, kind: bytes) -> None:
    (tmp_path / "x").write_text("secret")
    path = archive_of(tmp_path / "x.tar", member("link", kind=kind, target=target))
    with ArchiveReader(path) as reader, pytest.raises(LocalImageError, match="outside of the archive"):
        reader.open("link")


def test_names_that_lead_out_are_not_there(tmp_path: Path) -> None:
    path = archive_of(
        tmp_path / "x.tar", member("../x", b"1"), member("/etc/x", b"2"), member("a/../b", b"3")
    )
    with ArchiveReader(path) as reader:
        assert reader.members == {}
        assert reader.size("b") is None
        for name in ("../x", "/etc/x"):
            with pytest.raises(LocalImageError, match="outside"):
                reader.open(name)


def test_links_in_a_circle(tmp_path: Path) -> None:
    path = archive_of(
        tmp_path / "x.tar",
        member("a", kind=tarfile.SYMTYPE, target="b"),
        member("b", kind=tarfile.SYMTYPE, target="a"),
    )
    with ArchiveReader(path) as reader, pytest.raises(LocalImageError, match="circle"):
        reader.size("a")


def test_a_file_that_is_there_twice_is_refused_when_asked_for(tmp_path: Path) -> None:
    path = archive_of(
        tmp_path / "x.tar",
        member("a", b"1"),
        member("./a", b"2"),
        member("b", b"3"),
        member("d/", kind=b"5") * 2,
    )
    with ArchiveReader(path) as reader:
        assert reader.read("b", 1) == b"3"
        with pytest.raises(LocalImageError, match="twice"):
            reader.open("a")


def test_sparse_files_are_refused_when_asked_for(tmp_path: Path) -> None:
    with (tmp_path / "holes").open("wb") as out:
        for at in range(12):
            out.seek(at << 20)
            out.write(b"x")
        out.truncate(1 << 26)
    (tmp_path / "after").write_text("after")
    for dialect in ("gnu", "pax"):
        path = tmp_path / f"{dialect}.tar"
        tar = ["tar", "-C", str(tmp_path), f"--format={dialect}", "-Scf", str(path), "holes", "after"]
        subprocess.run(tar, check=True)
        with ArchiveReader(str(path)) as reader:
            assert reader.read("after", 10) == b"after"
            with pytest.raises(LocalImageError, match="sparse"):
                reader.open("holes")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "cut short"),
        (b"{}", "cut short"),
        (b"not a tar file " * 100, "not a tar archive"),
        (b"\x1f\x8b\x08rest", "compressed with gzip"),
        (b"\x28\xb5\x2f\xfdrest", "compressed with zstd"),
        (b"\xfd7zXZ\0rest", "compressed with xz"),
        (b"BZh9rest", "compressed with bzip2"),
        (member("a", b"x" * 2000)[:1500], "cut short"),
        (member("a", b"x") + member("b")[:100], "cut short"),
        (member("a", b"x") + b"?" * BLOCK, "damaged"),
        (member("x" * 300, b"x")[:BLOCK], "cut short"),
        (member("x" * 300, b"x")[: 2 * BLOCK], "cut short"),
    ],
)
def test_what_is_no_archive_is_said(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(data)
    with pytest.raises(LocalImageError, match=words) as caught:
        ArchiveReader(str(path))
    assert "image.tar" in caught.value.what
    if "compressed" in words:
        assert "decompress it first" in caught.value.fix


def test_an_archive_without_an_end_mark_is_known(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "x.tar", member("a", b"x"), end=b"")
    with ArchiveReader(path) as reader:
        assert not reader.is_whole
        assert reader.read("a", 1) == b"x"
        with pytest.raises(LocalImageError, match="was cut short"):
            reader.open("b")


def test_what_follows_the_end_is_not_read(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "x.tar", member("a", b"x"), END, member("b", b"y"))
    with ArchiveReader(path) as reader:
        assert list(reader.members) == ["a"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda block: block[:124] + b"notoctal0000" + block[136:], "size that is no number"),
        (lambda block: block[:124] + b"\xff" * 12 + block[136:], "size that is no number"),
        (lambda block: block[:124] + b"\x80" + b"\x7f" * 11 + block[136:], "size that is no number"),
    ],
)
def test_sizes_that_are_none(tmp_path: Path, spoil: Callable[[bytes], bytes], words: str) -> None:
    block = bytearray(spoil(member("a")))
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:]))
    path = archive_of(tmp_path / "x.tar", member("first"), bytes(block))
    with pytest.raises(LocalImageError) as caught:
        ArchiveReader(path)
    assert words in caught.value.why


def test_damaged_bytes_never_give_another_kind_of_error(tmp_path: Path) -> None:
    whole = member("a", b"1" * 600) + member("y" * 200, b"2") + member("l", kind=b"2", target="a") + END
    chance = random.Random(4)
    path = tmp_path / "x.tar"
    for _ in range(600):
        data = bytearray(whole[: chance.randrange(len(whole) + 1)] if chance.random() < 0.3 else whole)
        for _ in range(chance.randrange(1, 4)):
            if data:
                data[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(data)
        try:
            with ArchiveReader(str(path)) as reader:
                for name in [*reader.members, "l"]:
                    reader.read(name, 1 << 20)
        except HostbuildError:
            continue


def test_what_is_no_plain_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, words in (
        (tmp_path, "directory"),
        (tmp_path / "pipe", "plain file"),
        (tmp_path / "no", "No such"),
    ):
        with pytest.raises(LocalImageError, match=words):
            ArchiveReader(str(path))


def test_too_many_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "MAX_MEMBERS", 3)
    path = archive_of(tmp_path / "x.tar", member("a") * 4)
    with pytest.raises(LocalImageError, match="more than 3 entries"):
        ArchiveReader(path)


def test_a_file_larger_than_the_limit_is_not_read(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "x.tar", member("a", b"12345"))
    with ArchiveReader(path) as reader, pytest.raises(LocalImageError, match="at most 4"):
        reader.read("a", 4)


def test_streams_live_longer_than_the_reader_and_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "x.tar", member("a", b"a" * 300_000), member("b", b"b" * 300_000))
    reader = ArchiveReader(path)
    streams = [reader.open(name) for name in "abab"]
    reader.close()
    reader.close()
    read: dict[int, bytes] = {}

    def consume(number: int) -> None:
        with streams[number] as stream:
            read[number] = b"".join(iter(lambda: stream.read(1000), b""))

    threads = [threading.Thread(target=consume, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read == {number: b"ab"[number % 2 : number % 2 + 1] * 300_000 for number in range(4)}
    assert not [link for link in Path("/proc/self/fd").iterdir() if path in os.path.realpath(link)]
