"""What ships, split over layers: the same files, in a bounded number of layers, by a stable rule."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild.model import Entry
from hostbuild.splitting import HEAVY, LIGHT, WORTH, Part, split

MIB = 1 << 20


def key(entry: Entry) -> bytes:
    return entry.path.encode("utf-8", "surrogateescape")


def tree(files: dict[str, int], links: Iterable[str] = (), directories: Iterable[str] = ()) -> list[Entry]:
    """The entries of such a tree, with every directory, sorted as layers are."""
    entries = {path: Entry(path, "file", 0o644, size=size, digest=path) for path, size in files.items()}
    entries |= {path: Entry(path, "link", 0o777, target="x") for path in links if path not in entries}
    for path in [*entries, *(f"{directory}/x" for directory in directories)]:
        while path := path.rpartition("/")[0]:
            entries.setdefault(path, Entry(path, "dir", 0o755))
    return sorted(entries.values(), key=key)


def contents(part: Part) -> set[str]:
    return {entry.path for entry in part.entries if entry.kind != "dir"}


def by_number(parts: Iterable[Part]) -> dict[int, set[str]]:
    return {part.number: contents(part) for part in parts}


def many(directory: str, count: int, size: int) -> dict[str, int]:
    return {f"{directory}/{number % 7}/{number}": size for number in range(count)}


def test_a_small_tree_stays_together() -> None:
    entries = tree({"func/main.go": 100, "func/data.bin": WORTH - 101}, ["func/link"], ["func/empty"])
    assert split(entries) == (Part(0, tuple(entries)),)
    assert split([]) == (Part(0, ()),)


def test_data_lies_apart_from_the_sources_beside_it() -> None:
    sources = {"func/main.go": 2000, "func/lib/util.go": 5000, "func/lib/big.txt": MIB}
    data = many("func/data", 400, 200 * 1024)
    parts = by_number(split(tree(sources | data, ["func/data/current"])))
    assert parts[0] == {*sources, "func/data/current"}
    assert len(parts) > 3
    assert set().union(*parts.values()) == {*sources, *data, "func/data/current"}


def test_a_large_file_lies_apart() -> None:
    parts = by_number(split(tree({"func/main.go": 10, "func/model.bin": 40 * MIB, "func/b": HEAVY - 11})))
    assert parts == {1: {"func/model.bin"}, 0: {"func/main.go", "func/b"}}


def test_a_small_file_in_the_data_is_a_source_unless_there_are_many() -> None:
    data = many("func/data", 400, 200 * 1024)
    few = by_number(split(tree({**data, "func/data/3/config.yaml": LIGHT - 1})))
    assert few[0] == {"func/data/3/config.yaml"}
    parts = by_number(split(tree(many("func/data", 4000, LIGHT - 1))))
    assert 0 not in parts
    assert len(parts) == 4


def test_a_flat_directory_is_split_by_its_files() -> None:
    parts = by_number(split(tree({f"func/{number}.jpg": 3 * MIB for number in range(400)})))
    assert len(parts) == 8
    assert all(len(paths) < 100 for paths in parts.values())


def test_sources_beside_each_other_that_weigh_much_together_are_no_source() -> None:
    files = {f"func/{number}/a.bin": 5 * MIB for number in range(20)}
    parts = by_number(split(tree({**files, "func/main.go": 10})))
    assert parts[0] == {"func/main.go"}


SIZES = st.sampled_from([0, 1, LIGHT - 1, LIGHT, MIB, 5 * MIB, HEAVY - 1, HEAVY, 700 * MIB])
NAMES = st.sampled_from(["a", "b", "é", "data", "src", "\udcff", "x.y"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


@st.composite
def trees(draw: st.DrawFn) -> list[Entry]:
    """Files, links and empty directories; no path lies below a file."""
    files: dict[str, int] = {}
    for path, size in draw(st.lists(st.tuples(PATHS, SIZES), max_size=25)):
        files[f"func/{path}/f"] = size
    links = [f"func/{path}/l" for path in draw(st.lists(PATHS, max_size=3))]
    return tree(files, links, [f"func/{path}" for path in draw(st.lists(PATHS, max_size=3))])


def sorted_tree(entries: Iterable[Entry]) -> list[Entry]:
    return sorted(entries, key=key)


@given(trees())
@settings(deadline=None, max_examples=300)
def test_laid_over_each_other_the_parts_are_the_whole(entries: list[Entry]) -> None:
    parts = split(entries := sorted_tree(entries))
    assert 1 <= len(parts) <= 9
    assert all(part.entries for part in parts) or not entries
    laid: dict[str, Entry] = {}
    seen: set[str] = set()
    for part in parts:
        assert list(part.entries) == sorted_tree(part.entries)
        own = {entry.path for entry in part.entries}
        for entry in part.entries:
            above = entry.path.rpartition("/")[0]
            assert not above or above in own, "a layer has the directories of what is in it"
            assert entry.kind == "dir" or entry.path not in seen
            seen.add(entry.path)
            laid[entry.path] = entry
    assert sorted_tree(laid.values()) == entries


@given(trees(), st.data())
@settings(deadline=None, max_examples=200)
def test_other_bytes_of_the_same_size_change_one_layer(entries: list[Entry], data: st.DataObject) -> None:
    entries = sorted_tree(entries)
    files = [number for number, entry in enumerate(entries) if entry.kind == "file"]
    if not files:
        return
    number = data.draw(st.sampled_from(files))
    before = split(entries)
    one = entries[number]
    entries[number] = Entry(one.path, "file", one.mode, size=one.size, digest="other")
    after = split(entries)
    assert [part.number for part in before] == [part.number for part in after]
    assert sum(x.entries != y.entries for x, y in zip(before, after, strict=True)) == 1


@pytest.mark.parametrize("count", [20, 1000])
def test_a_new_source_changes_one_layer(count: int) -> None:
    data = many("func/data", 400, 200 * 1024)
    before = split(tree({**data, "func/main.go": 10}))
    after = split(tree({**data, "func/main.go": 10, "func/more/other.go": count}))
    changed = [x.number for x, y in zip(before, after, strict=True) if x.entries != y.entries]
    assert changed == [0]
