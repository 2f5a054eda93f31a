from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from hostbuild.errors import StoreError, WaitTimeoutError
from hostbuild.store import locks
from tests.store.helpers import FaultyOs, failing, kill, start, wait_for_line

HOLD = """
import sys
from hostbuild.store.locks import hold
with hold(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_lock_excludes_other_processes_and_its_file_stays(tmp_path: Path) -> None:
    path = str(tmp_path / "a.lock")
    process = start(HOLD, path)
    wait_for_line(process, "held")
    assert locks.is_held(path)
    assert locks.try_hold(path) is None
    told: list[float] = []

    def tell(waited: float) -> bool:
        told.append(waited)
        return len(told) == 2

    with pytest.raises(WaitTimeoutError) as caught:
        locks.hold(path, timeout=0.1, on_wait=tell, what="a friend")
    assert len(told) == 2
    assert 0 <= told[0] < told[1] < 0.1
    assert caught.value.exit_code == 75
    assert "a friend" in caught.value.what
    assert f"by process {process.pid}" in caught.value.why
    process.communicate("\n")
    with locks.hold(path, timeout=0, on_wait=tell):
        assert len(told) == 2
    assert os.path.exists(path)
    assert not locks.is_held(path)


def test_kill_9_of_the_holder_frees_the_lock(tmp_path: Path) -> None:
    path = str(tmp_path / "a.lock")
    process = start(HOLD, path)
    wait_for_line(process, "held")
    kill(process)
    with locks.hold(path, timeout=10):
        assert locks.is_held(path)


def test_a_stopped_holder_holds_on(tmp_path: Path) -> None:
    path = str(tmp_path / "a.lock")
    process = start(HOLD, path)
    wait_for_line(process, "held")
    process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(WaitTimeoutError):
            locks.hold(path, timeout=0.1)
    finally:
        kill(process)


def test_threads_of_one_process_exclude_each_other_and_wait(tmp_path: Path) -> None:
    path = str(tmp_path / "a.lock")
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(5):
            with locks.hold(path):
                inside += 1
                most = max(most, inside)
                time.sleep(0.001)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_child_process_does_not_keep_the_lock(tmp_path: Path) -> None:
    path = str(tmp_path / "a.lock")
    held = locks.hold(path)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    held.release()
    assert not locks.is_held(path)
    child.communicate(b"\n")


def test_releasing_twice_and_from_another_thread(tmp_path: Path) -> None:
    path = str(tmp_path / "a.lock")
    held = locks.hold(path)
    thread = threading.Thread(target=held.release)
    thread.start()
    thread.join()
    held.release()
    assert not locks.is_held(path)


def test_a_planted_link_is_refused_and_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = tmp_path / "a.lock"
    path.symlink_to(victim)
    with pytest.raises(StoreError, match="symbolic link"):
        locks.hold(str(path))
    with pytest.raises(StoreError, match="symbolic link"):
        locks.is_held(str(path))
    dangling = tmp_path / "b.lock"
    dangling.symlink_to(tmp_path / "new")
    with pytest.raises(StoreError):
        locks.hold(str(dangling))
    assert not (tmp_path / "new").exists()
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(fcntl, "flock", failing(code))
    for attempt in (locks.hold, locks.lock_new_file):
        with pytest.raises(StoreError, match="no working file locks") as caught:
            attempt(str(tmp_path / f"{attempt.__name__}.lock"))
        assert errno.errorcode[code] in caught.value.why
        assert str(tmp_path) in caught.value.what
        assert "local file system" in caught.value.fix
    assert not (tmp_path / "lock_new_file.lock").exists()


def test_looking_creates_nothing(tmp_path: Path) -> None:
    assert not locks.is_held(str(tmp_path / "none" / "a.lock"))
    assert not locks.is_held(str(tmp_path / "a.lock"))
    assert list(tmp_path.iterdir()) == []


def test_a_new_lock_file_that_a_cleaner_took_is_not_handed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "mine.lock")

    def open_and_lose(*arguments: Any) -> int:
        descriptor = os.open(*arguments)
        os.unlink(path)  # a cleaner between creation and lock
        return descriptor

    monkeypatch.setattr(locks, "os", FaultyOs(open=open_and_lose))
    assert locks.lock_new_file(path) is None


def test_stripes_are_4096_file_names() -> None:
    names = {locks.stripe(f"{number:03x}" + "0" * 61) for number in range(4096)}
    assert len(names) == 4096
    assert locks.stripe("AB" + "f" * 62) == "abf.lock"
    with pytest.raises(ValueError, match="invalid literal"):
        locks.stripe("../x")


def test_filelock_is_imported_only_by_those_who_lock() -> None:
    code = """
import sys
import hostbuild.store.builds, hostbuild.store.cache, hostbuild.store.layout, hostbuild.store.publish
slow = {"filelock", "subprocess", "logging", "tempfile", "shutil", "ctypes", "concurrent.futures", "psutil"}
print(sorted(slow & set(sys.modules)))
"""
    output = subprocess.run(
        [sys.executable, "-S", "-c", _with_path(code)], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]"


def _with_path(code: str) -> str:
    return f"import sys; sys.path[:0] = {sys.path!r}\n{code}"
