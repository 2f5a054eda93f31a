from __future__ import annotations

import gzip
import io
import sys
import tarfile
from collections.abc import Callable

import pytest

from hostbuild.errors import InvalidDocumentError
from hostbuild.layer import Member, read_layer
from tests.layer.helpers import Chunky, file, folder, layer, link

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def everything(blob: bytes, step: int = 0) -> list[tuple[Member, bytes | None]]:
    stream = Chunky(blob, step) if step else io.BytesIO(blob)
    return [(member, content.read() if content else None) for member, content in read_layer(stream)]


def sample() -> bytes:
    entries = [
        folder("d", mode=0o700),
        file("d/f", b"data" * 1_000_000),
        link("d/l", "../x"),
        file("\udcff" * 120),
    ]
    return layer(entries)[1]


@pytest.mark.parametrize("step", [0, 1000])
@pytest.mark.parametrize("compressed", [True, False])
def test_reads_what_was_written(compressed: bool, step: int) -> None:
    blob = sample() if compressed else gzip.decompress(sample())
    found = everything(blob, step)
    assert [content for _, content in found] == [None, b"data" * 1_000_000, None, b""]
    assert [member for member, _ in found] == [
        Member("d", "dir", 0o700, 1000, 1000, 0, 0, ""),
        Member("d/f", "file", 0o644, 1000, 1000, 4_000_000, 0, ""),
        Member("d/l", "link", 0o777, 1000, 1000, 0, 0, "../x"),
        Member("\udcff" * 120, "file", 0o644, 1000, 1000, 0, 0, ""),
    ]


def test_content_need_not_be_read() -> None:
    assert [member.path for member, _ in read_layer(io.BytesIO(sample()))][:3] == ["d", "d/f", "d/l"]


def test_content_is_read_in_pieces() -> None:
    for member, content in read_layer(io.BytesIO(sample())):
        if member.path == "d/f":
            assert content is not None
            assert content.read(6) == b"datada"
            assert content.read(2) == b"ta"


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_reads_what_others_write(form: int) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=form) as archive:
        for name, kind in [
            ("./", tarfile.DIRTYPE),
            ("./bin/", tarfile.DIRTYPE),
            ("./bin/" + "long/" * 30 + "x", tarfile.REGTYPE),
            ("dev/null", tarfile.CHRTYPE),
            ("dev/sda", tarfile.BLKTYPE),
            ("fifo", tarfile.FIFOTYPE),
            ("hard", tarfile.LNKTYPE),
            ("/../up", tarfile.REGTYPE),
        ]:
            info = tarfile.TarInfo(name)
            info.type = kind
            info.mtime = 12
            info.linkname = "bin/x" if kind == tarfile.LNKTYPE else ""
            archive.addfile(info)
    found = [member for member, _ in everything(out.getvalue())]
    assert [(member.path, member.kind) for member in found] == [
        ("", "dir"),
        ("bin", "dir"),
        ("bin/" + "long/" * 30 + "x", "file"),
        ("dev/null", "char"),
        ("dev/sda", "block"),
        ("fifo", "fifo"),
        ("hard", "hardlink"),
        ("/../up", "file"),
    ]
    assert found[6].target == "bin/x"
    assert found[2].mtime == 12


def test_empty_layer_has_no_entries() -> None:
    assert everything(layer([])[1]) == []


def cut(blob: bytes) -> bytes:
    return blob[:-20]


def damaged_header(blob: bytes) -> bytes:
    archive = bytearray(gzip.decompress(blob))
    archive[512 + 100] ^= 1  # the mode of the second entry
    return bytes(archive)


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"no archive",
        b"\x1f\x8b",
        b"\x1f\x8b" + b"x" * 600,
        b"\x28\xb5\x2f\xfd" + bytes(600),
        cut(sample()),
        gzip.decompress(sample())[:4000],
        gzip.decompress(sample())[: 512 + 100],
        damaged_header(sample()),
        gzip.compress(b"x" * 2000, mtime=0),
    ],
)
def test_damage_is_an_error_and_never_an_end(blob: bytes) -> None:
    with pytest.raises(InvalidDocumentError) as caught:
        everything(blob)
    assert caught.value.why


def test_zstd_is_read_with_what_lies_between_its_frames() -> None:
    plain = gzip.decompress(sample())
    skippable = b"\x50\x2a\x4d\x18\x04\0\0\0note"
    blob = zstd.compress(plain[:700]) + skippable + zstd.compress(plain[700:])
    assert everything(blob) == everything(sample())


@pytest.mark.parametrize(
    "damage", [lambda blob: blob[:-9], lambda blob: blob[:40] + b"\xff" * 40 + blob[80:]]
)
def test_damaged_zstd_is_an_error(damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(InvalidDocumentError):
        everything(damage(zstd.compress(gzip.decompress(sample()))))


def test_stream_stays_open() -> None:
    stream = io.BytesIO(sample())
    assert len(list(read_layer(stream))) == 4
    assert not stream.closed
