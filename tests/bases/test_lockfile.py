"""hostbuild.lock."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from hostbuild.bases.lockfile import LOCK_FILE, read_lock, write_lock
from hostbuild.errors import SettingsError, StoreError
from hostbuild.store import beside
from tests.store.helpers import failing

A = "sha256:" + "a" * 64
B = "sha256:" + "b" * 64


def test_what_is_written_is_read(tmp_path: Path) -> None:
    root = str(tmp_path)
    assert read_lock(root) is None
    assert write_lock(root, "docker.io/library/python:3", A)
    assert write_lock(root, "docker.io/library/alpine:3", B)
    assert read_lock(root) == {"docker.io/library/alpine:3": B, "docker.io/library/python:3": A}


def test_an_entry_is_replaced_and_others_stay(tmp_path: Path) -> None:
    write_lock(str(tmp_path), "x.example/a:1", A)
    write_lock(str(tmp_path), "x.example/b:1", A)
    assert write_lock(str(tmp_path), "x.example/a:1", B)
    assert read_lock(str(tmp_path)) == {"x.example/a:1": B, "x.example/b:1": A}


def test_nothing_is_written_where_nothing_changes(tmp_path: Path) -> None:
    write_lock(str(tmp_path), "x.example/a:1", A)
    before = (tmp_path / LOCK_FILE).stat().st_mtime_ns
    assert not write_lock(str(tmp_path), "x.example/a:1", A)
    assert (tmp_path / LOCK_FILE).stat().st_mtime_ns == before
    assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]


@pytest.mark.parametrize(
    "text",
    [
        "version = 1\n[[base]\n",
        "version = 2\n",
        "",
        'version = 1\nbase = "x"\n',
        'version = 1\n[[base]]\nname = "x"\n',
        'version = 1\n[[base]]\nname = "x"\ndigest = "sha256:zz"\n',
        "version = 1\nbase = [1]\n",
        "\udcff",
    ],
)
def test_what_is_no_lock_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / LOCK_FILE).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SettingsError, match=LOCK_FILE):
        read_lock(str(tmp_path))


def test_a_directory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=LOCK_FILE):
        write_lock(str(tmp_path / "absent"), "x.example/a:1", A)


def test_advice_for_a_read_only_source_names_no_flag_that_moves_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "lock_new_file", failing(errno.EROFS))
    with pytest.raises(StoreError, match="read-only") as caught:
        write_lock(str(tmp_path), "x.example/a:1", A)
    assert f"--lock needs to write into {tmp_path}" in caught.value.fix
    assert "--cache-dir" not in caught.value.fix
