from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path

import pytest

from hostbuild.errors import StoreError
from hostbuild.points import set_hook
from hostbuild.store import publish
from hostbuild.store.layout import LAYOUT_MARKER
from hostbuild.store.publish import publish_directory, stage_beside
from tests.store.helpers import kill, start, tree, wait_for_line


def layout(directory: Path | str, text: str) -> None:
    (Path(directory) / "blobs").mkdir(parents=True)
    (Path(directory) / "oci-layout").write_bytes(LAYOUT_MARKER)
    (Path(directory) / "index.json").write_text(text)


def publish_text(destination: Path, text: str) -> None:
    with stage_beside(str(destination)) as staged:
        layout(staged.path, text)
        publish_directory(staged.path, str(destination))


@pytest.fixture(params=["exchange", "no exchange"])
def _exchange(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "no exchange":
        monkeypatch.setattr(publish, "exchange_names", lambda one, other: False)


@pytest.mark.usefixtures("_exchange")
def test_a_directory_is_published_and_replaced(tmp_path: Path) -> None:
    destination = tmp_path / "new" / "parent" / "out"
    publish_text(destination, "one")
    assert (destination / "index.json").read_text() == "one"
    (destination / "blobs" / "old").write_text("")
    publish_text(destination, "two")
    assert tree(destination) == ["blobs", "index.json", "oci-layout"]
    assert (destination / "index.json").read_text() == "two"
    assert os.listdir(destination.parent) == ["out"]


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    publish_text(tmp_path / "out", "one")
    assert (tmp_path / "out" / "index.json").read_text() == "one"


@pytest.mark.usefixtures("_exchange")
@pytest.mark.parametrize(
    "kind", ["file", "other directory", "layout with a stranger", "bad marker", "link marker"]
)
def test_what_is_no_layout_is_not_replaced(tmp_path: Path, kind: str) -> None:
    destination = tmp_path / "out"
    if kind == "file":
        destination.write_text("mine")
    elif kind == "other directory":
        destination.mkdir()
        (destination / "thesis.tex").write_text("mine")
    else:
        layout(destination, "mine")
        if kind == "bad marker":
            (destination / "oci-layout").write_text("[]")
        elif kind == "link marker":
            (destination / "oci-layout").rename(tmp_path / "marker")
            (destination / "oci-layout").symlink_to("../marker")
        else:
            (destination / "notes").write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(StoreError, match="would replace") as caught:
        publish_text(destination, "one")
    assert str(destination) in caught.value.what
    assert tree(tmp_path) == before


def test_links_to_the_destination_are_kept(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    for name, target in (("full", "disk/out"), ("dangling", "disk/new")):
        (tmp_path / name).symlink_to(target)
    layout(tmp_path / "disk" / "out", "old")
    for name, target in (("full", "out"), ("dangling", "new")):
        publish_text(tmp_path / name, "one")
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / "disk" / target / "index.json").read_text() == "one"
    assert sorted(os.listdir(tmp_path)) == ["dangling", "disk", "full"]
    assert sorted(os.listdir(tmp_path / "disk")) == ["new", "out"]


def test_a_directory_that_became_precious_meanwhile_is_put_back(tmp_path: Path) -> None:
    destination = tmp_path / "out"
    layout(destination, "old")
    answers = iter(["", "somebody put a file there"])
    with stage_beside(str(destination)) as staged:
        layout(staged.path, "new")
        with pytest.raises(StoreError, match="somebody put a file there"):
            publish_directory(staged.path, str(destination), why_not=lambda path: next(answers))
    assert (destination / "index.json").read_text() == "old"


def test_a_failing_second_rename_puts_the_older_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout(tmp_path / "out", "old")
    layout(tmp_path / "staged", "new")
    monkeypatch.setattr(publish, "exchange_names", lambda one, other: False)
    real = os.rename

    def rename(one: str, other: str) -> None:
        if os.path.basename(one) == "staged":
            if not os.path.exists(other):
                raise OSError(errno.EIO, "Input/output error")
            raise OSError(errno.ENOTEMPTY, "Directory not empty")
        real(one, other)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(StoreError, match="input/output"):
        publish_directory(str(tmp_path / "staged"), str(tmp_path / "out"))
    assert (tmp_path / "out" / "index.json").read_text() == "old"


def test_a_reader_always_finds_a_whole_layout(tmp_path: Path) -> None:
    destination = tmp_path / "out"
    publish_text(destination, "0")
    code = """
import sys
print("reading", flush=True)
missing = 0
while not __import__("os").path.exists(sys.argv[1] + "/stop"):
    try:
        with open(sys.argv[1] + "/out/index.json") as stream:
            assert stream.read()
    except FileNotFoundError:
        missing += 1
print(missing)
"""
    reader = start(code, tmp_path)
    wait_for_line(reader, "reading")
    for number in range(50):
        publish_text(destination, str(number))
    (tmp_path / "stop").touch()
    output, _ = reader.communicate(timeout=30)
    assert reader.returncode == 0
    assert output.strip() == "0"


def test_two_publishers_both_succeed(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from hostbuild.store.publish import publish_directory, stage_beside
for number in range(20):
    with stage_beside(sys.argv[1]) as staged:
        Path(staged.path, "blobs").mkdir(parents=True)
        Path(staged.path, "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        Path(staged.path, "index.json").write_text(str(number))
        publish_directory(staged.path, sys.argv[1])
"""
    processes = [start(code, tmp_path / "out") for _ in range(2)]
    for process in processes:
        process.communicate(timeout=30)
        assert process.returncode == 0
    assert (tmp_path / "out" / "index.json").read_text() == "19"
    assert os.listdir(tmp_path) == ["out"]


PUBLISH = """
import os, sys
from pathlib import Path
from hostbuild.points import set_hook
from hostbuild.store.publish import publish_directory, stage_beside
set_hook(lambda name: os.kill(os.getpid(), 9) if name == sys.argv[2] else None)
with stage_beside(sys.argv[1]) as staged:
    Path(staged.path, "blobs").mkdir(parents=True)
    Path(staged.path, "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    Path(staged.path, "index.json").write_text("new")
    print("staged", flush=True)
    if sys.argv[2] == "hold":
        sys.stdin.readline()
    publish_directory(staged.path, sys.argv[1])
"""


@pytest.mark.parametrize("name", ["publish-before-swap", "publish-after-swap"])
def test_a_kill_leaves_the_older_or_the_newer_and_is_cleaned_up(tmp_path: Path, name: str) -> None:
    destination = tmp_path / "out"
    layout(destination, "old")
    process = start(PUBLISH, destination, name)
    assert process.wait() == -9
    kill(process)
    assert (destination / "index.json").read_text() == ("new" if name == "publish-after-swap" else "old")
    assert len(os.listdir(tmp_path)) == 2
    publish_text(destination, "next")
    assert os.listdir(tmp_path) == ["out"]
    assert (destination / "index.json").read_text() == "next"


def test_what_a_living_process_stages_is_not_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    destination = tmp_path / "out"
    process = start(PUBLISH, destination, "hold")
    wait_for_line(process, "staged")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 100)
    publish_text(destination, "mine")
    assert len(os.listdir(tmp_path)) == 2
    process.communicate("\n", timeout=30)
    assert process.returncode == 0
    assert (destination / "index.json").read_text() == "new"
    assert os.listdir(tmp_path) == ["out"]


def test_only_leftovers_of_this_name_are_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (".out.hostbuild-notes", ".other.hostbuild-" + "0" * 16):
        (tmp_path / name).mkdir()
    (tmp_path / (".out.hostbuild-" + "0" * 15)).write_text("a file")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 100)
    publish_text(tmp_path / "out", "one")
    assert len(os.listdir(tmp_path)) == 4


def test_a_staged_directory_goes_when_the_work_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with stage_beside(str(tmp_path / "out")) as staged:
            layout(staged.path, "half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("umask", "mode"), [(0o000, 0o755), (0o077, 0o700)])
def test_staging_is_private_whatever_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        with stage_beside(str(tmp_path / "out")) as staged:
            assert stat.S_IMODE(os.stat(os.path.dirname(staged.path)).st_mode) == 0o700
            os.mkdir(staged.path, 0o755)
            publish_directory(staged.path, str(tmp_path / "out"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == mode


def test_a_long_name_and_a_dotted_one(tmp_path: Path) -> None:
    for name in ("x" * 255, "ü" * 127, "a.b..c"):
        publish_text(tmp_path / name, "one")
        assert (tmp_path / name / "index.json").read_text() == "one"


def test_a_parent_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"a file stands where a directory belongs|File exists"):
        stage_beside(str(tmp_path / "file" / "out"))


def test_points_are_reached_in_order(tmp_path: Path) -> None:
    layout(tmp_path / "out", "old")
    seen: list[str] = []
    set_hook(seen.append)
    publish_text(tmp_path / "out", "new")
    assert seen == ["publish-before-swap", "publish-after-swap"]
