"""What is remembered of a source: whatever happens to it, what ships is what a look at all of it finds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hostbuild.errors import SourceChangedError, SourceError
from hostbuild.languages.base import Inspection
from hostbuild.model import BuildRequest
from hostbuild.remembering import SourceMemory
from hostbuild.shipping import Shipment, gather
from hostbuild.source import FileDigests, digests
from hostbuild.store.cache import Cache
from tests.rig.builder import make_source

FILES: dict[str, str | bytes] = {
    "main.go": "package main",
    "lib/a.txt": "aaaa",
    "lib/b.txt": "bbbb",
    "link": "-> lib/a.txt",
    "lib/empty/": "",
    ".funcignore": "*.log\n",
}
INSPECTION = Inspection("function", "f", "go", "", (), {}, ((),), entrypoint=("/func/f",), ships_source=True)


class Look(NamedTuple):
    """One run's look: the layers' keys, what each file is, and which were opened."""

    shipment: Shipment
    opened: set[str]

    @property
    def keys(self) -> list[tuple[str, str]]:
        return [(layer.plan.name, layer.plan.key) for layer in self.shipment.layers]


class Runs:
    """Each call is a run of its own on the same cache."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.cache = Cache(root.parent / "cache")
        self.opened: set[str] = set()
        real = digests.open_regular

        def note(path: bytes, *, follow: bool = False) -> int:
            self.opened.add(os.path.basename(os.fsdecode(path)))
            return real(path, follow=follow)

        monkeypatch.setattr(digests, "open_regular", note)
        monkeypatch.setattr(digests, "RACY_NS", -(10**18))  # whatever is here was written long ago

    def __call__(
        self,
        inspection: Inspection = INSPECTION,
        *,
        root: Path | None = None,
        anew: bool = False,
        asked: Mapping[str, Any] | None = None,
    ) -> Look:
        where = str(root or self.root)
        self.opened.clear()
        request = BuildRequest(where, **(asked or {}))
        memory = SourceMemory(self.cache, where, anew=anew, writes=True)
        known = FileDigests(memory.load_index, same_clock=memory.same_clock)
        shipment = gather(request, where, inspection, known, certificates=False, home=True, memory=memory)
        if known.has_news:
            memory.save_index(known.export())
        return Look(shipment, set(self.opened))


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    return Runs(make_source(tmp_path / "src", FILES), monkeypatch)


def check(runs: Runs, root: Path | None = None) -> Look:
    """What is remembered gives what is found without; returns it."""
    look = runs(root=root)
    anew = runs(root=root, anew=True)
    assert look.keys == anew.keys
    assert look.shipment.files == anew.shipment.files
    assert look.shipment.warnings == anew.shipment.warnings
    for layer, other in zip(look.shipment.layers, anew.shipment.layers, strict=True):
        assert (layer.created_by, layer.entries) == (other.created_by, other.entries)
    return look


def test_nothing_is_opened_when_nothing_changed(runs: Runs) -> None:
    first = runs()
    assert first.opened == {"main.go", "a.txt", "b.txt"}
    again = runs()
    assert again.opened == set()
    assert again.keys == first.keys
    assert again.shipment.files == first.shipment.files
    assert again.shipment.digest_of("lib/a.txt") == first.shipment.files["lib/a.txt"]
    assert again.shipment.digest_of("lib/none") == ""
    assert runs.opened == set()


def same_size_and_times(root: Path) -> None:
    path = root / "lib/a.txt"
    status = path.stat()
    path.write_text("AAAA")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def by_rename(root: Path) -> None:
    (root / "new").write_text("AAAA")
    shutil.copystat(root / "lib/a.txt", root / "new")
    (root / "new").rename(root / "lib/a.txt")


def other_name_of_the_same_file(root: Path) -> None:
    (root / "lib/a.txt").unlink()
    os.link(root / "lib/b.txt", root / "lib/a.txt")


def through_another_name(root: Path) -> None:
    os.link(root / "lib/a.txt", root.parent / "outside")
    (root.parent / "outside").write_text("AAAA")


def swapped(root: Path) -> None:
    (root / "lib/a.txt").rename(root / "x")
    (root / "lib/b.txt").rename(root / "lib/a.txt")
    (root / "x").rename(root / "lib/b.txt")


def executable(root: Path) -> None:
    (root / "lib/a.txt").chmod(0o755)


def link_elsewhere(root: Path) -> None:
    (root / "link").unlink()
    (root / "link").symlink_to("lib/b.txt")


def file_instead_of_link(root: Path) -> None:
    (root / "link").unlink()
    (root / "link").write_text("lib/a.txt")


@pytest.mark.parametrize(
    "edit",
    [
        same_size_and_times,
        by_rename,
        other_name_of_the_same_file,
        through_another_name,
        swapped,
        executable,
        link_elsewhere,
        file_instead_of_link,
        lambda root: (root / "lib/new.txt").write_text("new"),
        lambda root: (root / "lib/a.txt").unlink(),
        lambda root: (root / "lib/empty").rmdir(),
        lambda root: (root / "more").mkdir(),
        lambda root: (root / ".funcignore").write_text("a.txt\n"),
    ],
)
def test_an_edit_is_seen_and_only_that_is_read(runs: Runs, edit: Callable[[Path], object]) -> None:
    first = runs()
    edit(runs.root)
    look = check(runs)
    assert look.keys != first.keys
    assert "main.go" not in look.opened
    assert runs().opened == set()


def test_touched_is_read_again_and_the_same(runs: Runs) -> None:
    first = runs()
    os.utime(runs.root / "lib/a.txt")
    look = check(runs)
    assert (look.keys, look.opened) == (first.keys, {"a.txt"})


def test_what_was_just_written_is_read_every_time(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "RACY_NS", 10**18)
    for text in ("AAAA", "AAAB", "AAAC"):
        (runs.root / "lib/a.txt").write_text(text)
        assert check(runs).opened == {"main.go", "a.txt", "b.txt"}


def test_a_source_that_was_moved_is_known_and_a_copy_is_not(runs: Runs) -> None:
    first = runs()
    moved = runs.root.rename(runs.root.with_name("moved"))
    look = check(runs, moved)
    assert (look.keys, look.opened) == (first.keys, set())
    shutil.copytree(moved, runs.root, symlinks=True)
    look = check(runs, runs.root)
    assert (look.keys, look.opened) == (first.keys, {"main.go", "a.txt", "b.txt"})
    assert runs(root=moved).opened == set(), "one does not drive out the other"


@pytest.mark.parametrize("damage", ["lost", "cut", "flipped"])
@pytest.mark.parametrize("what", ["blobs", "keys"])
def test_a_memory_that_is_damaged_is_none(runs: Runs, damage: str, what: str) -> None:
    first = runs()
    kept = [path for path in (runs.root.parent / "cache" / what).rglob("*") if path.is_file()]
    assert kept
    for path in kept:
        data = path.read_bytes()
        path.chmod(0o644)
        if damage == "lost":
            path.unlink()
        elif damage == "cut":
            path.write_bytes(data[: len(data) // 2])
        else:
            path.write_bytes(data[:-30] + bytes([data[-30] ^ 1]) + data[-29:])
    os.utime(runs.root / "main.go")
    look = check(runs)
    assert look.keys == first.keys
    assert look.opened >= {"main.go"}
    assert runs().opened == set()


def test_a_changed_record_of_layers_is_not_believed(runs: Runs) -> None:
    first = runs()
    key = first.keys[0][1]
    for path in (runs.root.parent / "cache/keys").rglob("*"):
        if path.is_file() and key in path.read_text():
            path.write_text(path.read_text().replace(key, "0" * 64))
    assert runs().keys == first.keys


def test_requests_of_one_source_do_not_drive_each_other_out(runs: Runs) -> None:
    runs()
    others: list[dict[str, Any]] = [{"compression": "zstd"}, {"split": False}, {"copies": ("lib:/srv",)}]
    kept = [runs(asked=other) for other in others]
    assert [look.opened for look in kept] == [set(), set(), set()], "the files are known by now"
    assert [runs(asked=other).keys for other in others] == [look.keys for look in kept]
    assert len({str(look.keys) for look in (runs(), *kept)}) == 3, "such a small tree is not split"
    assert runs().opened == set()


def test_copies_and_further_trees_count(runs: Runs, tmp_path: Path) -> None:
    tree = make_source(tmp_path / "tree", {"x": "one"})
    inspection = Inspection(**vars(INSPECTION) | {"trees": {"/srv/tree": str(tree)}})
    asked: dict[str, Any] = {"copies": ("lib/a.txt:/etc/a", "lib:/srv/lib")}
    first = runs(inspection, asked=asked)
    assert runs(inspection, asked=asked).keys == first.keys
    (tree / "x").write_text("two")
    second = runs(inspection, asked=asked)
    assert second.keys != first.keys
    assert second.opened == {"x"}
    assert second.shipment.files["/srv/tree/x"] == second.shipment.digest_of("/srv/tree/x")
    (runs.root / "lib/a.txt").write_text("two")
    assert runs(inspection, asked=asked).keys != second.keys


def test_an_edit_after_the_look_is_not_taken_for_what_was_looked_at(runs: Runs) -> None:
    first = runs()
    look, later = runs(), runs()
    (runs.root / "lib/a.txt").write_text("other")
    # Whoever writes the layer compares what it reads with these.
    assert look.shipment.layers[0].entries == first.shipment.layers[0].entries
    shutil.rmtree(runs.root.parent / "cache/blobs")
    with pytest.raises(SourceChangedError):
        _ = later.shipment.layers[0].entries


def test_what_cannot_ship_is_an_error_every_time(runs: Runs) -> None:
    runs()
    (runs.root / ".wh.a").write_text("x")
    for _ in range(2):
        with pytest.raises(SourceError, match=r"\.wh\."):
            runs()


def test_all_is_read_when_nothing_is_to_be_trusted(runs: Runs) -> None:
    runs()
    assert runs(anew=True).opened == {"main.go", "a.txt", "b.txt"}


def test_what_is_forgotten_is_forgotten_for_all_requests(runs: Runs) -> None:
    runs()
    runs(asked={"compression": "zstd"})
    SourceMemory(runs.cache, str(runs.root), anew=False, writes=True).discard()
    assert runs().opened == {"main.go", "a.txt", "b.txt"}
    assert runs(asked={"compression": "zstd"}).opened == set()
    assert runs().opened == set()


def test_a_look_that_may_not_write_keeps_nothing(runs: Runs) -> None:
    memory = SourceMemory(runs.cache, str(runs.root), anew=False, writes=False)
    memory.keep("shipment", {"a": 1}, {"b": 2})
    assert memory.recall("shipment", {"a": 1}) == {"b": 2}
    again = SourceMemory(runs.cache, str(runs.root), anew=False, writes=False)
    assert again.recall("shipment", {"a": 1}) == {}
