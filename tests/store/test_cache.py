from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from hostbuild.errors import StoreError, WaitTimeoutError
from hostbuild.oci.digest import Digest
from hostbuild.points import set_hook
from hostbuild.store.cache import Cache
from hostbuild.store.holders import Wait
from hostbuild.store.locks import hold, is_held, stripe
from tests.store.helpers import finish, kill, start, tree

KEY = "ab" * 32
DATA = b"made"


def make(cache: Cache, calls: list[int] | None = None) -> dict[str, Any]:
    if calls is not None:
        calls.append(1)
    digest, size = cache.blobs.put(DATA)
    return {"digest": str(digest), "size": size, "why": "test"}


def test_a_record_is_kept_and_replaced(cache: Cache) -> None:
    assert cache.keys.get(KEY) is None
    cache.keys.put(KEY, {"a": 1})
    assert cache.keys.get(KEY) == {"a": 1}
    cache.keys.put(KEY, {"a": [2, "ü"]})
    assert cache.keys.get(KEY) == {"a": [2, "ü"]}
    assert Path(cache.keys.path(KEY)) == Path(cache.root) / "keys" / "ab" / ("ab" * 31 + ".json")
    cache.keys.discard(KEY)
    cache.keys.discard(KEY)
    assert cache.keys.get(KEY) is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\x00" * 100,
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"version":2,"key":"%s","value":{}}' % KEY.encode(),
        b'{"version":1,"key":"%s","value":{}}' % (b"cd" * 32),
        b'{"version":1,"key":"%s","value":7}' % KEY.encode(),
    ],
)
def test_a_torn_or_foreign_record_is_absent(cache: Cache, text: bytes) -> None:
    cache.keys.put(KEY, {"a": 1})
    Path(cache.keys.path(KEY)).write_bytes(text)
    assert cache.keys.get(KEY) is None
    assert cache.produce(KEY, lambda: make(cache))[1]
    assert not cache.produce(KEY, lambda: make(cache))[1]


@pytest.mark.parametrize("key", ["", "a" * 63, "A" * 64, "../" + "a" * 61, "a" * 64 + "\n"])
def test_a_key_is_64_hex_digits(cache: Cache, key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        cache.keys.get(key)


def test_produce_makes_once(cache: Cache) -> None:
    calls: list[int] = []
    first = cache.produce(KEY, lambda: make(cache, calls))
    second = cache.produce(KEY, lambda: make(cache, calls))
    assert (first[1], second[1], len(calls)) == (True, False, 1)
    assert first[0] == second[0]


@pytest.mark.parametrize("damage", ["removed", "truncated", "no digest", "bad digest", "no size"])
def test_a_record_counts_only_with_its_blob(cache: Cache, damage: str) -> None:
    value, _ = cache.produce(KEY, lambda: make(cache))
    path = cache.blobs.path(Digest.parse(value["digest"]))
    if damage == "removed":
        os.unlink(path)
    elif damage == "truncated":
        os.chmod(path, 0o644)
        os.truncate(path, 1)
    else:
        wrong: dict[str, dict[str, Any]] = {
            "no digest": {"size": 1},
            "bad digest": {"digest": "x", "size": 1},
            "no size": {"digest": value["digest"]},
        }
        cache.keys.put(KEY, wrong[damage])
    calls: list[int] = []
    assert cache.produce(KEY, lambda: make(cache, calls)) == (value, True)
    assert calls == [1]
    assert Path(path).read_bytes() == DATA


def test_a_make_that_fails_records_nothing_and_frees_the_lock(cache: Cache) -> None:
    def fail() -> dict[str, Any]:
        raise RuntimeError("compiler")

    with pytest.raises(RuntimeError, match="compiler"):
        cache.produce(KEY, fail)
    assert cache.keys.get(KEY) is None
    assert cache.produce(KEY, lambda: make(cache), timeout=0)[1]


def test_a_make_that_stores_nothing_is_an_error(cache: Cache) -> None:
    with pytest.raises(StoreError, match="not in the cache"):
        cache.produce(KEY, lambda: {"digest": str(Digest.of(b"never")), "size": 5})
    assert cache.keys.get(KEY) is None


def test_produce_does_not_nest_even_when_all_is_cached(cache: Cache) -> None:
    cache.produce("cd" * 32, lambda: make(cache))

    def nested() -> dict[str, Any]:
        return cache.produce("cd" * 32, lambda: make(cache))[0]

    with pytest.raises(RuntimeError, match="does not nest"):
        cache.produce(KEY, nested)
    assert cache.produce(KEY, lambda: make(cache))[1]


PRODUCE = """
import sys, time
from hostbuild.store.cache import Cache
cache = Cache(sys.argv[1])
def make():
    with open(sys.argv[2], "a") as log:
        log.write("made\\n")
    time.sleep(0.3)
    digest, size = cache.blobs.put(b"made")
    return {"digest": str(digest), "size": size}
print(cache.produce("ab" * 32, make)[1])
"""


def test_processes_that_need_one_key_make_it_once(cache: Cache, tmp_path: Path) -> None:
    log = tmp_path / "log"
    processes = [start(PRODUCE, cache.root, log) for _ in range(3)]
    outputs = sorted(finish(process).strip() for process in processes)
    assert outputs == ["False", "False", "True"]
    assert log.read_text() == "made\n"


@pytest.mark.parametrize("name", ["key-before-produce", "blob-before-rename", "key-before-rename"])
def test_a_killed_maker_is_followed_by_the_next(cache: Cache, tmp_path: Path, name: str) -> None:
    code = PRODUCE.replace(
        "cache = Cache",
        "import os\nfrom hostbuild.points import set_hook\n"
        f"set_hook(lambda name: os.kill(os.getpid(), 9) if name == {name!r} else None)\ncache = Cache",
    )
    process = start(code, cache.root, tmp_path / "log")
    assert process.wait() == -9
    kill(process)
    assert cache.keys.get(KEY) is None
    value, made = cache.produce(KEY, lambda: make(cache), timeout=5)
    assert made
    cache.blobs.verify(Digest.parse(value["digest"]), value["size"])
    cache.clean_temp(lambda owner: False)
    assert os.listdir(os.path.join(cache.root, "tmp")) == []


def test_waiting_for_a_key_is_told_and_bounded(cache: Cache) -> None:
    told: list[Wait] = []
    with hold(os.path.join(cache.root, "locks", stripe(KEY))), pytest.raises(WaitTimeoutError):
        cache.produce(KEY, lambda: make(cache), what="bakes", on_wait=told.append, timeout=0.05)
    assert told == [Wait(os.getpid(), f"waiting for process {os.getpid()}, which bakes")]


def test_the_lock_is_held_while_making(cache: Cache) -> None:
    lock = os.path.join(cache.root, "locks", stripe(KEY))
    seen: list[tuple[str, bool]] = []
    set_hook(lambda name: seen.append((name, is_held(lock))))
    cache.produce(KEY, lambda: make(cache))
    assert ("key-before-produce", True) in seen
    assert ("key-before-rename", True) in seen
    assert not is_held(lock)


def test_a_new_cache_is_private_and_tagged(tmp_path: Path) -> None:
    cache = Cache(str(tmp_path / "a" / "b"))
    assert tree(cache.root) == ["CACHEDIR.TAG", "blobs", "claims", "keys", "locks", "tmp", "version"]
    assert stat.S_IMODE(os.stat(cache.root).st_mode) == 0o700
    tag = Path(cache.root, "CACHEDIR.TAG").read_bytes()
    assert tag.startswith(b"Signature: 8a477f597d28d172789f06886806bc55\n")
    before = os.stat(os.path.join(cache.root, "version"))
    Cache(cache.root)
    assert os.stat(os.path.join(cache.root, "version")).st_ino == before.st_ino


def test_a_relative_root_does_not_move_with_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cache = Cache("cache")
    monkeypatch.chdir("/")
    digest, size = cache.blobs.put(DATA)
    assert (tmp_path / "cache" / "blobs" / "sha256" / digest.hex[:2] / digest.hex).stat().st_size == size


def test_the_root_may_be_a_link_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "cache").symlink_to("disk")
    Cache(tmp_path / "cache")
    assert (tmp_path / "disk" / "version").exists()


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o722])
def test_a_cache_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    root = tmp_path / "cache"
    root.mkdir()
    root.chmod(mode)
    with pytest.raises(StoreError, match="other users can write it") as caught:
        Cache(root)
    assert f"{mode:04o}" in caught.value.why
    assert list(root.iterdir()) == []
    root.chmod(mode | stat.S_ISVTX)
    Cache(root)


def test_a_cache_of_another_user_is_refused(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = os.stat(cache.root).st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(StoreError, match=f"another user \\(uid {owner}"):
        Cache(cache.root)


@pytest.mark.parametrize("name", ["blobs", "keys", "locks", "tmp", "claims"])
def test_a_planted_link_or_file_is_refused(cache: Cache, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    directory = Path(cache.root) / name
    directory.rmdir()
    directory.symlink_to(elsewhere)
    with pytest.raises(StoreError, match="symbolic link"):
        Cache(cache.root)
    directory.unlink()
    directory.write_text("")
    with pytest.raises(StoreError, match="not a directory"):
        Cache(cache.root)
    directory.unlink()
    Cache(cache.root)
    assert list(elsewhere.iterdir()) == []


def test_a_directory_with_other_files_does_not_become_a_cache(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StoreError, match="holds other files"):
        Cache(tmp_path)
    assert tree(tmp_path) == ["thesis.tex"]


def test_a_creation_that_was_killed_is_finished(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "CACHEDIR.TAG").write_text("")
    (tmp_path / ".version.0123").write_text("")
    cache = Cache(tmp_path)
    assert cache.produce(KEY, lambda: make(cache))[1]


def test_a_cache_of_another_version_is_left_alone(cache: Cache) -> None:
    Path(cache.root, "version").write_text("hostbuild cache 99\n")
    with pytest.raises(StoreError, match="another version"):
        Cache(cache.root)


def test_a_root_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError, match="directory"):
            Cache(root)


def test_a_read_only_cache_can_be_read(cache: Cache) -> None:
    value, _ = cache.produce(KEY, lambda: make(cache))
    for directory in [cache.root, *(str(path) for path in Path(cache.root).rglob("*") if path.is_dir())]:
        os.chmod(directory, 0o500)
    try:
        assert Cache(cache.root).produce(KEY, lambda: make(cache)) == (value, False)
    finally:
        for directory in [cache.root, *(str(path) for path in Path(cache.root).rglob("*") if path.is_dir())]:
            os.chmod(directory, 0o700)


def test_two_processes_that_create_one_cache_both_succeed(tmp_path: Path) -> None:
    code = """
import sys
from hostbuild.store.cache import Cache
Cache(sys.argv[1]).blobs.put(b"made")
print("ok")
"""
    for process in [start(code, tmp_path / "new" / "cache") for _ in range(3)]:
        assert finish(process) == "ok\n"


SCRATCH = """
import sys, time
from hostbuild.store.cache import Cache
with Cache(sys.argv[1]).scratch() as path:
    open(path + "/file", "w").write("12345")
    print(path, flush=True)
    time.sleep(600)
"""


def test_a_scratch_directory_goes_with_its_user(cache: Cache) -> None:
    with cache.scratch() as path:
        assert os.stat(path).st_mode & 0o777 == 0o700
        Path(path, "below").mkdir()
        Path(path, "below", "file").write_text("x")
        assert cache.clean_temp(lambda owner: False) == ()  # its lock is held
    assert not os.path.exists(path)


def test_a_scratch_directory_of_a_killed_process_is_removed(cache: Cache) -> None:
    process = start(SCRATCH, cache.root)
    assert process.stdout is not None
    path = process.stdout.readline().strip()
    assert cache.clean_temp(lambda owner: True) == ()
    kill(process)
    (removal,) = cache.clean_temp(lambda owner: False, dry_run=True)
    assert (removal.path, removal.size) == (path, 5)
    assert os.path.isdir(path)
    assert cache.clean_temp(lambda owner: False) == (removal,)
    assert not os.path.exists(path)
