"""What the operating system does to a build: full and read-only disks, errors at one call, limits, stops.

The walk over every call is scripts/disk_faults; here is one fault for each thing that is written.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.test_concurrent_builds import finish, leftovers, paused
from tests.rig.builder import Hostbuild, make_source
from tests.rig.fault_walk import Walk, damage
from tests.rig.faulty_disk import Fault, Mode
from tests.rig.go_wrapper import GoWrapper
from tests.rig.oci_tools import tool
from tests.rig.sources import HELLO

ONE = ("--platform", "linux/amd64", "-t", "registry.example/app:v1")


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    """One scenario for all faults; each begins with the state before."""
    return Walk(tmp_path_factory.mktemp("walk"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_source(tmp_path / "src", HELLO)


#: What fails: the function, a part of the place in hostbuild, the code, how, and whether the build does, too.
FAULTS: list[tuple[str, str, int, Mode, bool]] = [
    ("write", "store/blobs:write", errno.ENOSPC, "once", True),
    ("fsync", "store/blobs:_name", errno.EIO, "again", True),
    ("mkdir", "store/blobs:make_directories", errno.EDQUOT, "again", True),
    ("rename", "store/keys:put", errno.ENOSPC, "again", True),
    ("create", "store/staging:_create", errno.EMFILE, "once", True),
    ("link", "store/copying:link_or_copy", errno.ENOSPC, "once", True),
    ("write", "store/record:write_record", errno.EDQUOT, "once", True),
    ("rename", "store/staging:publish", errno.EIO, "stays", True),
    ("fsync", "store/last:_set_locked", errno.EIO, "once", True),
    ("symlink", "store/last:_set_locked", errno.EROFS, "stays", True),
    ("write", "outputs/writing", errno.ENOSPC, "once", True),
    ("fsync", "outputs/destinations:file_at", errno.EIO, "once", True),
    ("write", "process/log", errno.ENOSPC, "again", False),
]


@pytest.mark.parametrize(("function", "place", "code", "mode", "fails"), FAULTS)
def test_a_fault_is_one_clear_error_and_leaves_the_earlier_build(
    walk: Walk, function: str, place: str, code: int, mode: Mode, fails: bool
) -> None:
    calls = [call for call in walk.calls if call.function == function and place in call.site]
    assert calls, f"no {function} in {place} any more"
    result = walk.meet(Fault(calls[0], code, mode))
    complaints, walk.complaints = walk.complaints, []
    assert not complaints, "\n".join(complaints)
    assert result.code == (1 if fails else 0), result.stderr
    assert fails or "warning: the log " in result.stderr


def on_small_disk(hostbuild: Hostbuild, place: Path, options: str, then: str = "") -> Hostbuild:
    """The command with a small tmpfs at `place`, in namespaces of its own: nothing stays mounted."""
    place.mkdir()
    mount = f'mount -t tmpfs -o {options} none "{place}" && {then or "true"} && exec "$@"'
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    return replace(hostbuild, prefix=(tool("unshare"), *user, "--mount", "sh", "-c", mount, "sh"))


@pytest.mark.parametrize("options", ["size=600k", "size=100m,nr_inodes=20"], ids=["space", "inodes"])
@pytest.mark.parametrize("flag", ["--cache-dir", "--build-dir"])
def test_a_disk_that_fills_in_the_middle(
    hostbuild: Hostbuild, root: Path, tmp_path: Path, options: str, flag: str
) -> None:
    small = on_small_disk(hostbuild, tmp_path / "small", options)
    by_linker = flag == "--build-dir" and "inodes" not in options  # Go's linker is the first to meet it
    texts = ("no space left on device",) if by_linker else ("small/x", "no space is left", "  fix: ")
    small("build", root, *ONE, flag, tmp_path / "small/x").fails(1, *texts)
    assert list(damage(hostbuild.cache, root / ".func")) == []
    assert hostbuild("build", root, *ONE).code == 0


@pytest.mark.parametrize("flag", ["--cache-dir", "--build-dir", "--output"])
def test_a_read_only_disk(hostbuild: Hostbuild, root: Path, tmp_path: Path, flag: str) -> None:
    place = tmp_path / "small"
    read_only = on_small_disk(hostbuild, place, "size=1m", f'mount -o remount,ro none "{place}"')
    value = f"type=oci,dest={place}/image.tar" if flag == "--output" else place / "x"
    read_only("build", root, *ONE, flag, value).fails(1, str(place), "  why: ", "  fix: ")


LIMITS = [
    ("ulimit -n 12", "", "oo many open files"),
    ("ulimit -f 1", "", "file size limit"),
    ("true", "--cache-dir", "too long"),
    ("true", "--build-dir", "too long"),
    ("true", "--output", "too long"),
]


@pytest.mark.parametrize(("limit", "flag", "text"), LIMITS)
def test_limits(hostbuild: Hostbuild, root: Path, tmp_path: Path, limit: str, flag: str, text: str) -> None:
    prefix = (*hostbuild.prefix, "sh", "-c", f'{limit} && exec "$@"', "sh")
    place = tmp_path / ("x" * 256)
    value = f"type=oci,dest={place}" if flag == "--output" else str(place)
    arguments = (flag, value) if flag else ("-j", "1")
    replace(hostbuild, prefix=prefix)("build", root, *ONE, *arguments).fails(1, text, "  fix: ")
    assert not list((hostbuild.cache / "tmp").glob("*")) or flag == "--cache-dir"


def test_a_file_name_of_255_bytes(hostbuild: Hostbuild, root: Path) -> None:
    make_source(root, {"z" * 255: "long"})
    layout = hostbuild.build(root, *ONE, "--ship-source")
    assert layout.images["linux/amd64"].files[f"func/{'z' * 255}"].data == b"long"


@pytest.fixture
def stopped(hostbuild: Hostbuild, go_wrapper: GoWrapper, root: Path) -> Iterator[int]:
    """The pid of a build that stands still in its compiler and was stopped (SIGSTOP) with its lock."""
    with paused(hostbuild, go_wrapper, root, *ONE) as first:
        os.kill(first.pid, signal.SIGSTOP)
        try:
            yield first.pid
        finally:
            if first.poll() is None:
                os.kill(first.pid, signal.SIGCONT)
        go_wrapper.release()
        assert finish(first).code == 0


def test_a_stopped_builder_is_named_waited_for_and_not_harmed(
    hostbuild: Hostbuild, go_wrapper: GoWrapper, root: Path, stopped: int
) -> None:
    beside = hostbuild.beside(stopped)
    waited = beside("build", root, *ONE, "--wait-timeout", "0.5", env=go_wrapper.env)
    waited.fails(75, f"process {stopped}")
    assert f"waiting for process {stopped}" in waited.stderr
    cleaned = beside("clean", root)
    assert cleaned.code == 0, cleaned.stderr
    assert [each for each in leftovers(root) if "staging" in each]
    pruned = beside("cache", "prune", "--max-used-space", "0")
    assert pruned.code == 0, pruned.stderr
    os.kill(stopped, signal.SIGCONT)
