"""What a language finds out is kept by its inputs, and made anew where the cache does not count."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hostbuild.bases import Network
from hostbuild.errors import BuildTimeoutError, ToolError
from hostbuild.model import DEFAULT_ACCESS, Event
from hostbuild.process.marks import Marks
from hostbuild.store.cache import Cache
from hostbuild.workshop import CacheWorkshop


@contextmanager
def workshop(folder: Path, *, anew: bool = False, meanwhile: Any = None) -> Iterator[CacheWorkshop]:
    events: list[Event] = []
    with Network(DEFAULT_ACCESS, events.append) as network:
        yield CacheWorkshop(Cache(folder / "cache"), network, anew=anew, meanwhile=meanwhile)


class Maker:
    """Gives another value each time it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> dict[str, Any]:
        self.calls += 1
        return {"call": self.calls}


def test_what_is_remembered_is_found_by_the_next(tmp_path: Path) -> None:
    make = Maker()
    with workshop(tmp_path) as shop:
        assert shop.recall("a kind", {"kind": "x"}) is None
        assert shop.remember("a kind", {"kind": "x"}, make)["call"] == 1
        assert shop.remember("a kind", {"kind": "y"}, make)["call"] == 2
    with workshop(tmp_path) as shop:
        found = shop.recall("a kind", {"kind": "x"})
        assert found is not None
        assert found["call"] == 1
        assert shop.remember("a kind", {"kind": "x"}, make)["call"] == 1


def test_without_the_cache_each_thing_is_made_once_more_and_no_more(tmp_path: Path) -> None:
    make = Maker()
    with workshop(tmp_path) as shop:
        shop.remember("a kind", {}, make)
    with workshop(tmp_path, anew=True) as shop:
        assert shop.recall("a kind", {}) is None
        assert shop.remember("a kind", {}, make)["call"] == 2
        assert shop.remember("a kind", {}, make)["call"] == 2
    with workshop(tmp_path) as shop:
        assert shop.remember("a kind", {}, make)["call"] == 2


def test_nothing_is_kept_of_what_failed(tmp_path: Path) -> None:
    def fail() -> dict[str, Any]:
        raise ToolError("no")

    with workshop(tmp_path) as shop:
        with pytest.raises(ToolError):
            shop.remember("a kind", {}, fail)
        assert shop.recall("a kind", {}) is None


def test_a_kept_file_is_made_anew_where_its_blob_is_gone(tmp_path: Path) -> None:
    source = tmp_path / "a.whl"
    source.write_bytes(b"wheel")
    with workshop(tmp_path) as shop:
        kept = shop.keep("a file", {}, lambda: str(source))
        assert (kept["name"], kept["size"]) == ("a.whl", 5)
        path = shop.path(kept["digest"])
        assert Path(path).read_bytes() == b"wheel"
    os.unlink(path)
    with workshop(tmp_path) as shop:
        assert shop.recall("a file", {}) is None
        shop.keep("a file", {}, lambda: str(source))
        assert Path(path).read_bytes() == b"wheel"


def test_a_tool_is_marked_and_meanwhile_runs_once(tmp_path: Path) -> None:
    ran = threading.Event()
    calls: list[int] = []

    def meanwhile() -> None:
        calls.append(1)
        ran.set()

    code = "import json, os; print(json.dumps(dict(os.environ)))"
    with workshop(tmp_path, meanwhile=meanwhile) as shop, shop.scratch() as folder:
        done = shop.run([sys.executable, "-c", code], cwd=folder, env={"A": "1"})
        shop.run([sys.executable, "-c", ""], cwd=folder, env={})
        assert Marks.of(_json(done.output)).owner == folder
        assert _json(done.output)["A"] == "1"
    assert ran.wait(10)
    assert calls == [1]


def test_what_leaves_the_session_of_a_tool_that_is_stopped_is_ended_too(tmp_path: Path) -> None:
    code = (
        "import os, time, sys\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    print(os.getpid(), file=open(sys.argv[1], 'w'), flush=True)\n"
        "time.sleep(600)\n"
    )
    pid = tmp_path / "pid"
    with Network(DEFAULT_ACCESS) as network:
        shop = CacheWorkshop(Cache(tmp_path / "cache"), network, timeout=2)
        with shop.scratch() as folder, pytest.raises(BuildTimeoutError):
            shop.run([sys.executable, "-c", code, str(pid)], cwd=folder, env={})
    assert not _lives(pid.read_text().strip())


def _lives(pid: str) -> bool:
    """Whether it is more than a name that nobody has asked for yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def _json(text: str) -> dict[str, str]:
    import json

    found: dict[str, str] = json.loads(text)
    return found
