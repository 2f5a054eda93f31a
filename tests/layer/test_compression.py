from __future__ import annotations

import array
import base64
import gzip
import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild.errors import SourceChangedError, ToolMissingError, UsageError
from hostbuild.layer import COMPRESSIONS, GZIP, compression_of, compressors, read_layer, write_layer
from hostbuild.model import Entry
from hostbuild.oci.digest import Digest
from hostbuild.settings.table import BY_NAME
from tests.layer.helpers import contents, file, folder, layer, members

if sys.version_info >= (3, 14):
    from compression.zstd import decompress as unzstd
    from compression.zstd import get_frame_size
else:
    from backports.zstd import decompress as unzstd
    from backports.zstd import get_frame_size

MIB = 1 << 20
NOISE = random.Random(1).randbytes(2 * MIB)
TEXT = b"".join(b"line %d of a text that compresses\n" % (number * number) for number in range(90_000))
ENTRIES = [
    folder("func"),
    file("func/big", TEXT, digest=True),
    file("func/empty", digest=True),
    file("func/noise", NOISE, digest=True),
    *(file(f"func/small{number:03}", TEXT[: number * 37], digest=True) for number in range(200)),
    file("func/zeros", bytes(3 * MIB + 5), digest=True),
]
DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "gzip:fast": gzip.decompress,
    "zstd": unzstd,
    "uncompressed": bytes,
}
MEDIA_TYPES = {"gzip": "tar+gzip", "gzip:fast": "tar+gzip", "zstd": "tar+zstd", "uncompressed": "tar"}
#: The same on every CPU; zstd's by its library's version, of which others may be there.
KNOWN = {
    "tar1": "3c0d0e669332d4ab1d316de084d240e48c6f6cde",
    "tar1+gzip:libdeflate-stored:1:1048576": "57fa8c6c356deedcf967403bd5462d41cfbba9e8",
    "tar1+gzip:libdeflate-stored:6:1048576": "ce833a9f6f7a3d8ecd4faecc2bc9721978b15d20",
    "tar1+zstd:zstd-1.5.7:1:1048576": "6ac64904f3eab812906c5ba4e48a775b515b78e2",
    "tar1+zstd:zstd-1.5.7:3:1048576": "666fedc6d91657e0f112e06a82670584ed168eae",
}

every = pytest.mark.parametrize("name", COMPRESSIONS)


def test_settings_and_layers_name_the_same_compressions() -> None:
    assert BY_NAME["compression"].choices == COMPRESSIONS == tuple(DECOMPRESS)
    assert compression_of(COMPRESSIONS[0]) == GZIP


@every
def test_what_is_written_is_told_and_comes_back(name: str) -> None:
    result, blob = layer(ENTRIES, threads=2, compression=compression_of(name))
    archive = DECOMPRESS[name](blob)
    assert result.media_type == f"application/vnd.oci.image.layer.v1.{MEDIA_TYPES[name]}"
    assert str(result.digest) == "sha256:" + hashlib.sha256(blob).hexdigest()
    assert str(result.diff_id) == "sha256:" + hashlib.sha256(archive).hexdigest()
    assert (result.size, result.diff_size) == (len(blob), len(archive))
    assert [info.name for info in members(archive)] == [entry.path for entry in ENTRIES]
    assert {entry.path: entry.digest for entry in ENTRIES if entry.kind == "file"} == {
        path: hashlib.sha256(data).hexdigest() for path, data in contents(archive).items() if path != "func"
    }


@every
def test_our_own_reader_takes_it(name: str, tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(layer(ENTRIES, compression=compression_of(name))[1])
    with open(tmp_path / "blob", "rb") as stream:
        read = {member.path: content.read() if content else b"" for member, content in read_layer(stream)}
    assert list(read) == [entry.path for entry in ENTRIES]
    assert (read["func/noise"], read["func/big"]) == (NOISE, TEXT)


@every
def test_bytes_do_not_depend_on_threads(name: str) -> None:
    for level in (None, 2) if name != "uncompressed" else (None,):
        compression = compression_of(name, level)
        results = [layer(ENTRIES, threads=threads, compression=compression) for threads in (1, 2, 4)]
        assert results[0] == results[1] == results[2]


def test_same_bytes_on_every_machine() -> None:
    """A library that gives other bytes must change the key: caches rely on it, and users compare digests."""
    wanted = [("uncompressed", None), ("gzip", None), ("gzip", 6), ("zstd", None), ("zstd", 3)]
    made = {}
    for name, level in wanted:
        compression = compression_of(name, level)
        made[compression.key] = layer(ENTRIES, threads=2, compression=compression)[0].digest.hex[:40]
    assert made == {key: KNOWN.get(key, digest) for key, digest in made.items()}
    assert len(made.keys() & KNOWN.keys()) >= 3


@every
@pytest.mark.parametrize("threads", [1, 2])
def test_a_file_that_changed_is_named(name: str, threads: int) -> None:
    for size in (1, 5000, 3 * MIB):
        told, found = file("func/x", bytes(size), digest=True), file("func/x", b"\1" + bytes(size - 1))
        changed = Entry(
            told.path, "file", told.mode, size=size, open=found.open, digest=told.digest, origin=told.origin
        )
        entries = [*ENTRIES[:3], changed, file("func/y", TEXT)]
        with pytest.raises(SourceChangedError, match="/src/func/x"):
            layer(entries, threads=threads, compression=compression_of(name))


@pytest.mark.parametrize("name", ["gzip", "gzip:fast", "zstd"])
def test_one_changed_byte_changes_one_member(name: str) -> None:
    """What a registry or a disk already has of the rest can be found again."""
    data = bytearray(TEXT)
    before = _members(name, layer([file("a", bytes(data))], compression=compression_of(name))[1])
    data[1_500_000] ^= 1
    after = _members(name, layer([file("a", bytes(data))], compression=compression_of(name))[1])
    assert len(before) == len(after) > 3
    assert [old == new for old, new in zip(before, after, strict=True)] == [
        number != 1 for number in range(len(before))
    ]


def _members(name: str, blob: bytes) -> list[bytes]:
    if name != "zstd":
        return [b"\x1f\x8b" + part for part in blob.split(b"\x1f\x8b\x08\0\0\0\0\0")[1:]]
    found = []
    while blob:
        size = get_frame_size(blob)
        found.append(blob[:size])
        blob = blob[size:]
    return found


def test_the_digest_can_come_from_who_makes_it_anyway() -> None:
    for threads in (1, 2):
        hasher = hashlib.sha256()

        def made(hasher: hashlib._Hash = hasher) -> Digest:
            return Digest("sha256", hasher.hexdigest())

        result = write_layer(ENTRIES, hasher.update, threads=threads, digest=made)
        assert result == layer(ENTRIES)[0]


def test_random_bytes_are_stored_and_others_are_not() -> None:
    stored = layer([file("a", NOISE)])[1]
    assert len(NOISE) < len(stored) < len(NOISE) * 1.001
    assert NOISE[70_000:120_000] in stored
    # Where a little of it is text, that is compressed.
    mixed = layer([file("a", NOISE[:MIB]), file("b", TEXT), file("c", NOISE[:MIB])])[1]
    assert len(mixed) < 2.1 * MIB + len(TEXT) / 3


def test_base64_and_numbers_are_compressed() -> None:
    numbers = array.array("f", [random.Random(2).gauss(0, 0.02) for _ in range(MIB // 8)]).tobytes() * 2
    for data in (base64.b64encode(NOISE[:MIB]), numbers):
        assert len(layer([file("a", data)])[1]) < len(data) * 0.95


blocks = st.lists(st.sampled_from([(0, 1), (0, 70_000), (1, 3), (1, 200_000), (2, 128 << 10)]), max_size=12)


@settings(max_examples=40, deadline=None)
@given(blocks=blocks, name=st.sampled_from(COMPRESSIONS))
def test_any_mixture_comes_back(blocks: list[tuple[int, int]], name: str) -> None:
    data = b"".join((NOISE, TEXT, bytes(MIB))[kind][:size] for kind, size in blocks)
    archive = DECOMPRESS[name](layer([file("a", data)], compression=compression_of(name))[1])
    assert contents(archive)["a"] == data


def test_other_tools_decompress_stored_members(tmp_path: Path) -> None:
    result, blob = layer(ENTRIES)
    (tmp_path / "layer.gz").write_bytes(blob)
    plain = subprocess.run(["gzip", "-dc", tmp_path / "layer.gz"], check=True, stdout=subprocess.PIPE).stdout
    assert hashlib.sha256(plain).hexdigest() == result.diff_id.hex


@pytest.mark.parametrize(
    ("name", "highest"), [("gzip", 12), ("gzip:fast", 2), ("zstd", 22), ("uncompressed", 0)]
)
def test_levels(name: str, highest: int) -> None:
    keys = {compression_of(name, level).key for level in range(1, highest + 1)}
    assert len(keys) == highest
    for level in (0, -1, highest + 1):
        with pytest.raises(UsageError, match=f"level {level}") as caught:
            compression_of(name, level)
        assert name in str(caught.value)
    for level in {1, highest} if highest else ():
        little = [file("a", TEXT[:100_000])]
        archive = DECOMPRESS[name](layer(little, compression=compression_of(name, level))[1])
        assert contents(archive) == {"a": TEXT[:100_000]}


def test_a_higher_level_is_smaller() -> None:
    sizes = [layer(ENTRIES, compression=compression_of("gzip", level))[0].size for level in (1, 6)]
    assert sizes[1] < sizes[0]


def test_keys_differ_and_tell_what_bytes_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {name: compression_of(name).key for name in COMPRESSIONS}
    assert len(set(keys.values())) == len(COMPRESSIONS)
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "h", "6", "1", "elsewhere")))
    changed = {name for name in COMPRESSIONS if compression_of(name).key != keys[name]}
    assert changed == {"gzip:fast"}
    assert compressors.zstd_version() in keys["zstd"]
    assert compressors.isal_version() in keys["gzip:fast"]


def test_there_is_no_other_compression() -> None:
    with pytest.raises(UsageError, match="'lz4'") as caught:
        compression_of("lz4")
    assert "gzip:fast" in caught.value.fix


def test_a_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        if name.startswith("isal"):
            raise ImportError(f"No module named {name!r}", name=name)
        return import_module(name)

    monkeypatch.setattr(compressors, "import_module", missing)
    with pytest.raises(ToolMissingError, match="gzip:fast") as caught:
        compression_of("gzip:fast")
    assert "hostbuild[fast]" in caught.value.fix
    assert layer(ENTRIES[:3])[0].entries == 3
