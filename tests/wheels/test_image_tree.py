"""Layers over layers: what a container sees, without unpacking; held against what `unpack` makes on disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild.errors import InvalidDocumentError
from hostbuild.layer import Member, unpack
from hostbuild.wheels.image_tree import Directory, Link, Opener, Place, Tree, read_file, read_tree
from tests.wheels import images
from tests.wheels.images import Content, Data, Hard, archive, layer


def look(member: Member, content: BinaryIO, again: Opener) -> bytes:
    return content.read()


def tree_of(*layers: Mapping[str, Content]) -> Tree[bytes]:
    return read_tree([layer(each) for each in layers], look)


def seen(tree: Tree[bytes], path: str) -> bytes | None:
    found = tree.file(path)
    return found[1].seen if found is not None else None


def test_a_later_layer_covers_an_earlier_one() -> None:
    tree = tree_of({"a": Data(b"1"), "d/b": Data(b"2")}, {"a": Data(b"3"), "d": None, "d/c": Data(b"4")})
    assert [seen(tree, path) for path in ("/a", "d/b", "/d/c", "/d", "/none", "/a/b")] == [
        b"3",
        b"2",
        b"4",
        None,
        None,
        None,
    ]


def test_whiteouts_hide_lower_layers_only_wherever_they_stand() -> None:
    lower: Mapping[str, Content] = {
        "gone": Data(b"1"),
        "dir/x": Data(b"2"),
        "dir/sub/y": Data(b"3"),
        "o/low": Data(b"4"),
        "o/sub/low": Data(b"4"),
        "kept": Data(b"5"),
    }
    upper: Mapping[str, Content] = {
        ".wh.gone": Data(b""),
        ".wh.never": Data(b""),
        "dir/new": Data(b"6"),
        ".wh.dir": Data(b""),
        "o/sub/high": Data(b"7"),
        "o/.wh..wh..opq": Data(b""),
        ".wh..wh.plnk": Data(b""),
        "none/.wh.x": Data(b""),
    }
    tree = tree_of(lower, upper)
    assert [seen(tree, path) for path in ("gone", "dir/x", "dir/sub/y", "o/low", "o/sub/low")] == [None] * 5
    assert [seen(tree, path) for path in ("dir/new", "o/sub/high", "kept")] == [b"6", b"7", b"5"]
    assert tree.find("dir/sub") is None
    assert tree.find("/.wh.gone") is None


def test_kinds_replace_each_other() -> None:
    tree = tree_of(
        {"a/x": Data(b"1"), "f": Data(b"2"), "l": images.Link("a"), "m/y": Data(b"3")},
        {"a": Data(b"4"), "f/x": Data(b"5"), "l": None, "m": images.Link("f")},
    )
    assert (seen(tree, "a"), seen(tree, "a/x"), seen(tree, "f/x"), seen(tree, "m/x")) == (
        b"4",
        None,
        b"5",
        b"5",
    )
    found = tree.find("l")
    assert found is not None
    assert isinstance(found[1], Directory)


def test_links_are_followed_inside_the_image() -> None:
    tree = tree_of(
        {
            "usr/lib/x/libc": Data(b"c"),
            "lib": images.Link("/usr/lib"),
            "up": images.Link("../../../../usr/lib/x"),
            "usr/rel": images.Link("./lib/../lib/x/libc"),
            "loop": images.Link("loop"),
            "one": images.Link("two"),
            "two": images.Link("/one/x"),
            "dangling": images.Link("nowhere"),
            "long": images.Link("a/" * 3000),
        },
        {"lib/y": Data(b"y"), "up/z": Data(b"z")},
    )
    assert tree.find("/lib/x/libc") == tree.find("/usr/lib/x/libc") == tree.find("/usr/rel")
    assert (seen(tree, "up/libc"), seen(tree, "/usr/lib/y"), seen(tree, "/usr/lib/x/z")) == (b"c", b"y", b"z")
    assert [tree.find(path) for path in ("loop", "one", "dangling", "long", "usr/rel/..")] == [None] * 5
    assert tree.find("/../..//.") == tree.find("/")
    assert tree.real("/lib/x/new/file") == "/usr/lib/x/new/file"
    assert [tree.real(path) for path in ("/", "/none/a/", "lib")] == ["/", "/none/a", "/usr/lib"]


def test_hard_links_are_the_same_file() -> None:
    tree = tree_of(
        {"a": Data(b"1"), "b": Hard("a"), "s": images.Link("a"), "t": Hard("s")},
        {"c": Hard("./b"), "a": Data(b"2")},
    )
    assert [seen(tree, path) for path in "abct"] == [b"2", b"1", b"1", b"2"]
    there = tree.directory("/")
    assert there is not None
    assert isinstance(there[1]["t"], Link)
    with pytest.raises(InvalidDocumentError, match=r"'c'.*hard link to 'none'"):
        tree_of({"c": Hard("none")})


def test_what_cannot_be_laid_over_is_refused() -> None:
    with pytest.raises(InvalidDocumentError, match="links before it lead nowhere"):
        tree_of({"loop": images.Link("loop"), "loop/x": Data(b"")})
    with pytest.raises(InvalidDocumentError, match="too long"):
        tree_of({"a/" * 2100 + "b": Data(b"")})
    with pytest.raises(InvalidDocumentError):
        read_tree([lambda: __import__("io").BytesIO(b"\x1f\x8bno gzip")], look)


def test_it_nests_deeper_than_python_does() -> None:
    deep = "a/" * 2000 + "b"
    tree = tree_of({deep: Data(b"1")}, {".wh.a": Data(b"")})
    assert tree.find("a") is None
    assert tree.find("/") is not None


def test_bytes_can_be_read_again() -> None:
    layers = [layer({"x": Data(b"0")}), layer({"d": None, "a": Data(b"1"), "b": Data(b"22")}, packed=False)]
    kept: list[Opener] = []

    def twice(member: Member, content: BinaryIO, again: Opener) -> bytes:
        kept.append(again)
        with again() as stream:
            return stream.read() + content.read()

    tree = read_tree(layers, twice)
    assert (seen(tree, "a"), seen(tree, "b")) == (b"11", b"2222")
    assert [opened.read() for each in kept for opened in [each()]] == [b"0", b"1", b"22"]
    assert read_file(layers, Place(1, 2), look) == b"22"
    assert read_file(layers, Place(1, 0), look) is None
    assert read_file(layers, Place(1, 9), look) is None


NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
WHITEOUTS = st.tuples(
    st.sampled_from(["", "a/", "b/", "a/b/"]), st.sampled_from([".wh.a", ".wh.b", ".wh..wh..opq"])
)
ENTRIES = st.one_of(
    st.tuples(PATHS, st.sampled_from([Data(b"x"), b"run", None, images.Link("b"), images.Link("/a/c")])),
    WHITEOUTS.map(lambda pair: (pair[0] + pair[1], Data(b""))),
)
LAYERS = st.lists(st.lists(ENTRIES, min_size=1, max_size=6).map(dict), min_size=1, max_size=3)


@settings(max_examples=150, deadline=None)
@given(layers=LAYERS)
def test_it_sees_what_unpacking_gives(
    layers: list[dict[str, Content]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("unpacked")
    for number, each in enumerate(layers):
        (home / f"{number}.tar").write_bytes(archive(each))
    root = home / "root"
    try:
        unpack([home / f"{number}.tar" for number in range(len(layers))], root)
    except (InvalidDocumentError, OSError):
        return  # a file where a directory would have to be: we are more lenient there
    tree = tree_of(*layers)
    assert list(_walked(tree)) == list(_on_disk(root))


def _walked(tree: Tree[bytes], path: str = "") -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    there = tree.directory(path)
    assert there is not None
    for name, node in sorted(there[1].items()):
        inner = f"{path}/{name}"
        if isinstance(node, Link):
            found.append((inner, node.target))
        elif isinstance(node, Directory):
            found += [(inner, None), *_walked(tree, inner)]
        else:
            found.append((inner, (node.seen, node.executable)))
    return found


def _on_disk(root: Path, path: str = "") -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for name in sorted(os.listdir(f"{root}{path}")):
        inner = f"{path}/{name}"
        place = Path(f"{root}{inner}")
        if place.is_symlink():
            found.append((inner, os.readlink(place)))
        elif place.is_dir():
            found += [(inner, None), *_on_disk(root, inner)]
        else:
            found.append(
                (
                    inner,
                    (place.read_bytes(), os.access(place, os.X_OK) and bool(place.stat().st_mode & 0o111)),
                )
            )
    return found
