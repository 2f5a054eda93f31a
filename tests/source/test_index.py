"""The stat index: what it keeps, and what it makes of bytes that are not its own."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild.source import FileDigests, StatIndex, decode_index, digests
from hostbuild.source.index import DIGEST_SIZE, facts_of, signature_of

ROOT = b"/src"


def record(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest() + b"%048d" % number


def index(*paths: bytes, root: bytes = ROOT) -> StatIndex:
    return StatIndex(root).merged({path: record(len(path)) for path in paths}, drop=False)


PATHS = st.binary(min_size=1, max_size=12).filter(lambda name: b"\0" not in name)


@given(st.lists(st.tuples(st.sampled_from([b"/src/", b"/usr/lib/", b"/srcs/"]), PATHS), max_size=20))
@settings(deadline=None, max_examples=200)
def test_what_is_kept_is_found(parts: list[tuple[bytes, bytes]]) -> None:
    paths = [place + name.lstrip(b"/") for place, name in parts]
    again = decode_index(index(*paths).encode(), ROOT)
    assert len(again) == len(set(paths))
    for path in [*paths, *reversed(paths)]:
        assert again.find(path) == record(len(path))
    assert again.find(b"/src/" + b"x" * 20) == b""


def test_what_lies_below_the_root_moves_with_it() -> None:
    moved = decode_index(index(b"/src/a", b"/src/b/c", b"/usr/x").encode(), b"/other/place/")
    assert moved.find(b"/other/place/b/c") == record(len(b"/src/b/c"))
    assert moved.find(b"/usr/x") == record(6)
    assert moved.find(b"/src/a") == b""


def test_news_replace_and_remove_and_the_rest_stays() -> None:
    first = index(b"/src/a", b"/src/b", b"/src/c")
    second = first.merged({b"/src/b": b"", b"/src/c": record(9), b"/src/0": record(8)}, drop=False)
    assert [second.find(b"/src/" + name) for name in (b"0", b"a", b"b", b"c")] == [
        record(8),
        record(6),
        b"",
        record(9),
    ]
    second = decode_index(second.encode(), ROOT)
    second.find(b"/src/a")
    assert len(second.merged({}, drop=True)) == 1


@pytest.mark.parametrize("cut", [0, 1, 17, 18, 30, 34, 40, 100, -1])
def test_what_is_cut_off_is_none(cut: int) -> None:
    data = index(b"/src/a", b"/src/b").encode()
    assert len(decode_index(data[:cut], ROOT)) == 0
    assert len(decode_index(data, ROOT)) == 2


def test_other_bytes_are_none() -> None:
    data = index(b"/src/a", b"/src/b").encode()
    assert len(decode_index(data.replace(b"files 2", b"files 1"), ROOT)) == 0
    assert len(decode_index(data + b"\0", ROOT)) == 0
    assert len(decode_index(data.replace(b"a\0b", b"a b"), ROOT)) == 0
    assert len(decode_index(StatIndex(ROOT).encode(), ROOT)) == 0


def test_times_of_any_year(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    status = os.stat(tmp_path / "file")
    times = {name: getattr(status, name) for name in dir(status) if name.startswith("st_")}
    far = cast("os.stat_result", SimpleNamespace(**times | {"st_mtime_ns": 10**20, "st_ino": 2**64 - 1}))
    assert len(signature_of(far)) == len(signature_of(status))
    assert signature_of(far) != signature_of(status)
    assert facts_of(signature_of(status)).mtime_ns == status.st_mtime_ns


def test_what_is_gone_does_not_stay_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "RACY_NS", -(10**18))
    (tmp_path / "file").write_text("one")
    old = StatIndex(b"/").merged({b"/gone/%d" % n: record(n) for n in range(1100)}, drop=False)
    memory = FileDigests(lambda: old)
    memory.of(str(tmp_path / "file"))
    assert len(memory.export()) == 1
    memory.is_partial = True
    assert len(memory.export()) == 1101


def test_times_of_another_machine_are_trusted_when_a_second_run_finds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server whose clock is behind makes a file look old that was just written."""
    opened: list[bytes] = []
    real = digests.open_regular

    def note(path: bytes, *, follow: bool = False) -> int:
        opened.append(path)
        return real(path, follow=follow)

    monkeypatch.setattr(digests, "open_regular", note)
    monkeypatch.setattr(digests, "RACY_NS", -(10**18))
    path = tmp_path / "file"
    path.write_text("one")
    load = None
    for times in (1, 2, 2):
        memory = FileDigests(load, same_clock=lambda _path, _device: False)
        assert memory.of(str(path)) == hashlib.sha256(b"one").hexdigest()
        assert len(opened) == times
        load = memory.export
    path.write_text("two")
    memory = FileDigests(load, same_clock=lambda _path, _device: False)
    assert memory.of(str(path)) == hashlib.sha256(b"two").hexdigest()
    assert memory.export().find(os.fsencode(path))[:DIGEST_SIZE] == bytes(DIGEST_SIZE)


@pytest.mark.parametrize(
    ("nanoseconds", "later", "settled"),
    [(0, 2_900_000_000, False), (0, 3_100_000_000, True), (1, 19_000_000, False), (1, 21_000_000, True)],
)
def test_whole_seconds_are_a_coarse_clock(nanoseconds: int, later: int, settled: bool) -> None:
    changed = 10**18 + nanoseconds
    assert digests.is_settled(changed, changed, changed + later) is settled
