from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild.errors import LinkEscapesError
from hostbuild.source import FileDigests, SourceTree, load_ignore, scan
from hostbuild.source.links import EscapeError, LinkResolver


def scanned(root: Path) -> SourceTree:
    return scan(str(root), load_ignore(str(root)), digests=FileDigests())


def link(root: Path, path: str, target: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).symlink_to(target)


ACCEPTED = [
    ("a.lnk", "a.txt"),
    ("link", "."),
    ("b/link", ".."),
    ("b/c/link", ".."),
    ("b/c/link", "../.."),
    ("x", "...validName"),
    ("...name", "a.txt"),
    ("b/x", "../a.txt"),
    ("b/x", "c/../../a.txt"),
]


@pytest.mark.parametrize(("path", "target"), ACCEPTED)
def test_links_that_stay_inside_are_kept_raw(tmp_path: Path, path: str, target: str) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "...validName").write_text("a")
    (tmp_path / "b" / "c").mkdir(parents=True)
    link(tmp_path, path, target)
    tree = scanned(tmp_path)
    assert [(entry.path, entry.target) for entry in tree.entries if entry.kind == "link"] == [(path, target)]
    assert tree.warnings == ()


REFUSED = [
    ("link", "/etc/passwd"),
    ("link", "/"),
    ("link", ".."),
    ("link", "../x"),
    ("b/link", "../.."),
    ("b/link", "../../.."),
    ("b/link", "c/../../../x"),
    ("link", "missing/../../x"),
    ("link", "b/../.."),
]


@pytest.mark.parametrize(("path", "target"), REFUSED)
def test_links_that_leave_the_root_are_refused(tmp_path: Path, path: str, target: str) -> None:
    (tmp_path / "b" / "c").mkdir(parents=True)
    link(tmp_path, path, target)
    with pytest.raises(LinkEscapesError) as caught:
        scanned(tmp_path)
    error = caught.value
    assert error.what == f'the link "{path}" leaves the source directory'
    assert f'"{target}"' in error.why
    assert error.fix
    assert error.extra["link"] == f'"{path}"'


def test_the_error_says_where_the_link_leads(tmp_path: Path) -> None:
    root = tmp_path / "inner"
    link(root, "b/link", "../../outside/x")
    with pytest.raises(LinkEscapesError) as caught:
        scanned(root)
    assert str(tmp_path / "outside" / "x") in caught.value.why


def test_an_absolute_link_into_the_root_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    link(tmp_path, "link", str(tmp_path / "a"))
    with pytest.raises(LinkEscapesError, match="absolute"):
        scanned(tmp_path)


def test_a_link_is_judged_by_where_it_resolves(tmp_path: Path) -> None:
    link(tmp_path, "d", ".")
    link(tmp_path, "l", "d/../x")
    with pytest.raises(LinkEscapesError) as caught:
        scanned(tmp_path)
    assert '"l"' in caught.value.what


def test_out_and_in_again_is_out(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    link(tmp_path, "l", f"../{tmp_path.name}/a")
    with pytest.raises(LinkEscapesError):
        scanned(tmp_path)


def test_a_link_through_an_ignored_link_that_leaves(tmp_path: Path) -> None:
    link(tmp_path, ".cache", "/etc")
    scanned(tmp_path)
    link(tmp_path, "l", ".cache/hosts")
    with pytest.raises(LinkEscapesError, match=r"/etc/hosts"):
        scanned(tmp_path)


def test_links_below_ignored_directories_are_not_looked_at(tmp_path: Path) -> None:
    link(tmp_path, ".venv/bin/python", "/usr/bin/python3")
    link(tmp_path, ".venv/lib64", "../../..")
    assert scanned(tmp_path).entries == ()


def test_links_that_lead_to_nothing_ship_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / ".env").write_text("")
    link(tmp_path, "dangling", "missing/x")
    link(tmp_path, "through", "file/x")
    link(tmp_path, "slash", "file/")
    link(tmp_path, "secret", ".env")
    link(tmp_path, "one", "two")
    link(tmp_path, "two", "one")
    link(tmp_path, "self", "self/x")
    tree = scanned(tmp_path)
    assert {entry.path for entry in tree.entries if entry.kind == "link"} == {
        *("dangling", "through", "slash", "secret", "one", "two", "self")
    }
    words = {warning.split('"')[1]: warning for warning in tree.warnings}
    assert sorted(words) == ["dangling", "one", "secret", "self", "slash", "through", "two"]
    assert all("circles" in words[name] for name in ("one", "two", "self"))
    assert all("to nothing" in words[name] for name in ("dangling", "through", "slash"))
    assert "not shipped" in words["secret"]


NAMES = ("a", "b", "c")
directories = st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3), max_size=5)
targets = st.lists(st.sampled_from((*NAMES, *NAMES, "..", "..", ".", "")), min_size=1, max_size=5)
links = st.lists(
    st.tuples(st.lists(st.sampled_from((*NAMES, "l", "m")), min_size=1, max_size=3), targets, st.booleans()),
    min_size=1,
    max_size=7,
)


def kernel(path: bytes) -> bytes | None:
    """Where the kernel gets to, or None."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.readlink(b"/proc/self/fd/%d" % descriptor)
    finally:
        os.close(descriptor)


@settings(max_examples=200, deadline=None)
@given(directories=directories, links=links, files=directories)
def test_links_resolve_as_the_kernel_resolves_them(
    directories: list[list[str]], links: list[tuple[list[str], list[str], bool]], files: list[list[str]]
) -> None:
    with tempfile.TemporaryDirectory() as base:
        root = Path(os.path.realpath(base), "a", "b")
        root.mkdir(parents=True)
        made: list[tuple[str, str]] = []
        for parts in directories:
            try_to(root.joinpath(*parts).mkdir, parents=True, exist_ok=True)
        for parts in files:
            try_to(root.joinpath(*parts).touch)
        for parts, target, absolute in links:
            text = "/".join(target) or "."
            if text.startswith("/"):
                text = "." + text
            if absolute and target[0] == "a":
                text = str(root / text)
            path = "/".join(parts)
            # Only below real directories: such are the links that a walk meets.
            if os.path.realpath(root / path).startswith(str(root)) and try_to((root / path).symlink_to, text):
                real = os.path.join(os.path.realpath((root / path).parent), parts[-1])
                if real.startswith(str(root) + "/"):
                    made.append((os.path.relpath(real, root), text))
        top = os.fsencode(root)
        for path, text in made:
            check(top, path.encode(), text.encode())


def try_to(action: object, *arguments: object, **options: object) -> bool:
    assert callable(action)
    try:
        action(*arguments, **options)
    except OSError:
        return False
    return True


def check(top: bytes, path: bytes, text: bytes) -> None:
    real = kernel(top + b"/" + path)
    try:
        resolution = LinkResolver(top).resolve(path.rpartition(b"/")[0], text, followed=1)
    except EscapeError:
        # It left the root on the way, or would if what is missing were there.
        assert real is None or leaves(top, path)
        return
    assert not leaves(top, path)
    if resolution.state == "found":
        assert real == (top + b"/" + resolution.path if resolution.path else top)
        assert os.path.realpath(top + b"/" + path) == real
    else:
        assert real is None


def leaves(top: bytes, path: bytes) -> bool:
    """Whether the kernel's way from the link passes a directory outside of `top`, told one name at a time."""
    at = top + b"/" + path.rpartition(b"/")[0]
    rest, hops = [path.rpartition(b"/")[2]], 0
    while rest:
        name = rest.pop(0)
        here = kernel(at)
        if here is None:
            return False
        if here != top and not here.startswith(top + b"/"):
            return True
        try:
            target = os.readlink(here + b"/" + name)
        except OSError:
            at = here + b"/" + name
            continue
        hops += 1
        if hops > 40:
            return False
        if target.startswith(b"/"):
            return True
        rest = target.split(b"/") + rest
        at = here
    here = kernel(at)
    return here is not None and here != top and not here.startswith(top + b"/")


def test_the_longest_chain_that_linux_follows(tmp_path: Path) -> None:
    (tmp_path / "end").write_text("")
    previous = "end"
    for number in range(1, 42):
        (tmp_path / f"l{number}").symlink_to(previous)
        previous = f"l{number}"
    resolver = LinkResolver(os.fsencode(os.path.realpath(tmp_path)))
    assert resolver.resolve(b"", b"l39", followed=1).state == "found"
    assert (tmp_path / "l40").exists()
    assert resolver.resolve(b"", b"l40", followed=1).state == "loop"
    with pytest.raises(OSError, match="symbolic links"):
        (tmp_path / "l41").stat()
