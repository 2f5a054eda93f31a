"""Where outputs go: whole or not at all, and what is refused before anything is built."""

from __future__ import annotations

import errno
import io
import os
import signal
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hostbuild.errors import HostbuildError, StoreError, UsageError
from hostbuild.model import BuildResult, Output
from hostbuild.outputs import check_destinations, destinations
from hostbuild.store import publish
from tests.outputs.results import docker, oci, write
from tests.store.helpers import FaultyOs, failing, kill, start


def test_standard_output(result: BuildResult, tmp_path: Path) -> None:
    write(result, docker(tmp_path / "x.tar"))
    for stream in (io.BytesIO(), Reluctant()):
        write(result, docker("-"), stdout=stream)
        assert stream.getvalue() == (tmp_path / "x.tar").read_bytes()


class Reluctant(io.BytesIO):
    """Takes a part of what it is given, as an unbuffered stream may."""

    def write(self, data: Any, /) -> int:
        return super().write(data[:70_000])


class Broken(io.BytesIO):
    """A pipe whose reader went."""

    def write(self, data: Any, /) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


class Full(io.BytesIO):
    """A disk that is full, of a stream that has a buffer."""

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


class Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


def test_standard_output_that_breaks(result: BuildResult) -> None:
    with pytest.raises(StoreError, match="ended early"):
        write(result, docker("-"), stdout=Broken())
    with pytest.raises(StoreError, match="No space left"):
        write(result, docker("-"), stdout=Full())
    with pytest.raises(UsageError, match="no standard output"):
        write(result, docker("-"))
    terminal = Terminal()
    with pytest.raises(UsageError, match="terminal"):
        write(result, docker("-"), stdout=terminal)
    assert terminal.getvalue() == b""


def test_what_cannot_be_written_is_refused_beforehand(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "builds/by-hash/1").mkdir(parents=True)
    bad: list[tuple[list[Output], bool, type[HostbuildError], str]] = [
        ([docker("-")], True, UsageError, "terminal"),
        ([oci("-", tar=False)], False, UsageError, "directory does not go to standard output"),
        ([docker("-"), oci("-")], False, UsageError, "two outputs go to standard output"),
        ([docker(tmp_path / "x"), oci(tmp_path / "./x")], False, UsageError, "two outputs go to"),
        ([docker(tmp_path / "directory")], False, StoreError, "it is a directory"),
        ([docker(f"{tmp_path}/new/")], False, StoreError, "names a directory"),
        ([docker(tmp_path / "file/x")], False, StoreError, "is not a directory"),
        ([oci(tmp_path / "file", tar=False)], False, StoreError, "not a directory"),
        ([oci(tmp_path / "builds/by-hash/1/x.tar")], False, StoreError, "never changes"),
    ]
    for outputs, is_terminal, error, words in bad:
        with pytest.raises(error) as caught:
            check_destinations(outputs, is_terminal)
        assert words in str(caught.value)
        assert caught.value.fix
    check_destinations([docker("-"), docker(tmp_path / "x"), oci(tmp_path / "new/y")])
    assert not (tmp_path / "new").exists()


def test_a_place_where_nothing_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(destinations, "os", FaultyOs(access=lambda *_: False))
    with pytest.raises(StoreError, match="nothing can be made"):
        check_destinations([docker(tmp_path / "x")])


def test_a_socket_and_a_terminal_are_no_places(tmp_path: Path) -> None:
    import pty
    import socket

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        with pytest.raises(StoreError, match="socket"):
            check_destinations([docker(tmp_path / "s")])
    ends = pty.openpty()
    try:
        with pytest.raises(StoreError, match="terminal"):
            check_destinations([docker(os.ttyname(ends[1]))])
    finally:
        for each in ends:
            os.close(each)


@pytest.mark.parametrize("output", [docker("/proc/x.tar"), oci("/proc/x/y", tar=False)])
def test_a_file_system_of_the_kernels_own(result: BuildResult, output: Output) -> None:
    with pytest.raises(StoreError, match="takes no files") as caught:
        write(result, output)
    assert caught.value.what == 'cannot make files in "/proc"'
    assert caught.value.fix == "choose another place with dest="


def test_a_directory_that_was_removed_meanwhile(
    result: BuildResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vanish(path: str, mode: int = 0o777) -> None:
        os.rmdir(tmp_path / "new")
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)

    monkeypatch.setattr(publish, "os", FaultyOs(mkdir=vanish))
    with pytest.raises(StoreError, match="does not exist any more"):
        write(result, docker(tmp_path / "new/x.tar"))


def test_pipes_and_devices_are_written_to(result: BuildResult, tmp_path: Path) -> None:
    write(result, docker(tmp_path / "x.tar"), docker("/dev/null"))
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write(result, docker(pipe))
    reader.join()
    assert read == [(tmp_path / "x.tar").read_bytes()]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    ends = os.pipe()
    reader = threading.Thread(target=lambda: read.append(os.fdopen(ends[0], "rb").read()))
    reader.start()
    write(result, docker(f"/dev/fd/{ends[1]}"))  # what a shell gives for >(…)
    os.close(ends[1])
    reader.join()
    assert read[1] == read[0]


def test_an_open_descriptor_is_written_to_where_it_stands(result: BuildResult, tmp_path: Path) -> None:
    write(result, docker(tmp_path / "x.tar"))
    file = tmp_path / "file"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
    try:
        os.write(descriptor, b"before")
        write(result, docker(f"/dev/fd/{descriptor}"))
        os.write(descriptor, b"after")
        with pytest.raises(StoreError, match="open descriptor"):
            check_destinations([oci(f"/dev/fd/{descriptor}", tar=False)])
    finally:
        os.close(descriptor)
    assert file.read_bytes() == b"before" + (tmp_path / "x.tar").read_bytes() + b"after"
    assert {each.name for each in tmp_path.iterdir()} >= {"file", "x.tar"}
    with pytest.raises(StoreError, match="is not open"):
        check_destinations([docker(f"/dev/fd/{descriptor}")])
    reading = os.open(file, os.O_RDONLY)
    try:
        with pytest.raises(StoreError, match="reading only"):
            check_destinations([docker(f"/dev/fd/{reading}")])
    finally:
        os.close(reading)


def test_an_older_file_is_replaced_at_once(result: BuildResult, tmp_path: Path) -> None:
    target = tmp_path / "deep/er/x.tar"
    write(result, docker(target))
    whole = target.read_bytes()
    target.write_bytes(b"older")
    link = tmp_path / "link"
    link.symlink_to("deep/er/x.tar")
    with target.open("rb") as older:
        write(result, docker(link))
        assert older.read() == b"older"
    assert link.is_symlink()
    assert target.read_bytes() == whole
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~mask
    assert [each.name for each in target.parent.iterdir()] == ["x.tar"]


def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 0

    def write_little(descriptor: int, data: bytes) -> int:
        nonlocal count
        count += 1
        if count > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.write(descriptor, data)

    monkeypatch.setattr(destinations, "os", FaultyOs(write=write_little))


def no_rename(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(destinations, "os", FaultyOs(rename=failing(errno.EIO)))


def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(destinations, "os", FaultyOs(fsync=failing(errno.ENOSPC)))


@pytest.mark.parametrize("spoil", [full_disk, no_rename, no_sync])
def test_a_disk_that_refuses_leaves_the_older_file(
    result: BuildResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[pytest.MonkeyPatch], None],
) -> None:
    target = tmp_path / "out/x.tar"
    target.parent.mkdir()
    target.write_bytes(b"older")
    spoil(monkeypatch)
    with pytest.raises(StoreError) as caught:
        write(result, docker(target))
    assert str(target.parent) in caught.value.what
    assert "--cache-dir" not in caught.value.fix
    assert spoil is no_rename or "dest=" in caught.value.fix
    assert target.read_bytes() == b"older"
    assert [each.name for each in target.parent.iterdir()] == ["x.tar"]


KILLED = """
import os, signal, sys
from hostbuild.outputs.destinations import file_at
from hostbuild.points import set_hook

def die(name):
    if name == "output-before-rename":
        os.kill(os.getpid(), signal.SIGKILL)

set_hook(die)
with file_at(sys.argv[1]) as write:
    write(b"newer")
"""


def test_a_killed_process_leaves_the_older_file_and_the_next_one_cleans(
    result: BuildResult, tmp_path: Path
) -> None:
    target = tmp_path / "out/x.tar"
    target.parent.mkdir()
    target.write_bytes(b"older")
    process = start(KILLED, target)
    assert process.wait() == -signal.SIGKILL
    kill(process)
    assert target.read_bytes() == b"older"
    assert len(list(target.parent.iterdir())) == 2
    write(result, docker(target))
    assert [each.name for each in target.parent.iterdir()] == ["x.tar"]
    assert target.stat().st_size > 5
