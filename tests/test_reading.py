from __future__ import annotations

import os
import ssl
import stat
import threading
from pathlib import Path

import pytest

from hostbuild.bases.lockfile import LOCK_FILE, read_lock
from hostbuild.errors import CredentialsError, SettingsError, UsageError
from hostbuild.http.redirects import origin_of
from hostbuild.http.tls import Contexts
from hostbuild.model import Access
from hostbuild.reading import PIPE_LIMIT, read_named
from hostbuild.registry.docker_config import read_config
from hostbuild.settings.named_files import check_authorities, check_logins
from tests.rig.tls import Authority


@pytest.fixture
def fifo(tmp_path: Path) -> str:
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    return path


def shells(data: bytes) -> str:
    """The path that a shell gives for `<(…)`, its writer gone already."""
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    return f"/dev/fd/{reader}"


def test_a_plain_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    data, mode = read_named(str(tmp_path / "file"), 4)
    assert data == b"01234"
    assert stat.S_ISREG(mode)
    assert read_named("/dev/null", 4)[0] == b""
    with pytest.raises(FileNotFoundError):
        read_named(str(tmp_path / "none"), 4)
    with pytest.raises(IsADirectoryError):
        read_named(str(tmp_path), 4)


def test_a_pipe_with_a_writer_is_read_more_than_once() -> None:
    path = shells(b"content")
    assert [read_named(path, 100)[0] for _ in range(3)] == [b"content"] * 3


def test_a_named_pipe_with_a_writer_is_read_to_its_end(fifo: str) -> None:
    data = b"x" * 300_000  # more than a pipe holds
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.fdopen(os.open(fifo, os.O_WRONLY), "wb")

    def write() -> None:
        with writer:
            writer.write(data)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    assert read_named(fifo, PIPE_LIMIT)[0] == data
    thread.join()
    os.close(reader)


def test_a_pipe_without_a_writer_does_not_hang(fifo: str) -> None:
    with pytest.raises(OSError, match="nothing is written to it"):
        read_named(fifo, 100)


def test_what_never_ends_is_bounded(fifo: str) -> None:
    with pytest.raises(OSError, match="more than 1048576 bytes"):
        read_named("/dev/zero", 1 << 30)
    writer = os.open(fifo, os.O_RDWR)
    try:
        with pytest.raises(OSError, match=r"did not end within 0\.1 s"):
            read_named(fifo, 100, seconds=0.1)
    finally:
        os.close(writer)


def test_no_file_of_settings_that_is_a_dead_pipe_hangs(fifo: str, tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="nothing is written"):
        read_config(fifo)
    with pytest.raises(UsageError, match="nothing is written"):
        Contexts(Access(ca_file=fifo), ()).of(origin_of("https://reg.example"))
    os.rename(fifo, tmp_path / LOCK_FILE)
    with pytest.raises(SettingsError, match="not a plain file"):
        read_lock(str(tmp_path))


def test_checking_early_neither_hangs_nor_breaks_the_pipe(fifo: str) -> None:
    opened: list[int] = []
    thread = threading.Thread(target=lambda: opened.append(os.open(fifo, os.O_WRONLY)), daemon=True)
    thread.start()
    check_authorities(fifo)
    check_logins(fifo)
    thread.join(0.2)
    assert not opened  # a writer waits until somebody reads
    os.close(os.open(fifo, os.O_RDONLY))
    thread.join()
    os.close(opened[0])


def test_logins_and_authorities_come_through_pipes(tmp_path: Path) -> None:
    file = read_config(shells(b'{"auths": {"reg.example": {"auth": "am9lOnNlY3JldA=="}}}'))
    assert file is not None
    assert [credential.secret for _, credential in file.inline("reg.example", "")] == ["secret"]
    authority = Authority(tmp_path)
    context = Contexts(Access(ca_file=shells(authority.ca_file.read_bytes())), ()).of(origin_of("https://x"))
    with open(authority.ca_file, encoding="ascii") as stream:
        assert ssl.PEM_cert_to_DER_cert(stream.read()) in context.get_ca_certs(binary_form=True)
    with pytest.raises(UsageError, match="no certificates in PEM form"):
        Contexts(Access(ca_file=shells(b"nothing")), ()).of(origin_of("https://reg.example"))
