from __future__ import annotations

import os
from pathlib import Path

import pytest

from hostbuild.points import set_hook
from hostbuild.store import beside
from hostbuild.store.beside import clean_beside, replace_beside
from hostbuild.store.locks import lock_new_file
from hostbuild.store.publish import stage_beside

LEFT = ".x.json.hostbuild-0123456789abcdef"


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def test_the_new_content_is_there_at_once_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b"older")
    seen = []
    set_hook(lambda _: seen.append(path.read_bytes()))
    try:
        replace_beside(str(path), b"newer")
    finally:
        set_hook(None)
    assert seen == [b"older"]
    assert path.read_bytes() == b"newer"
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask()
    assert names(tmp_path) == ["x.json"]


def umask() -> int:
    os.umask(mask := os.umask(0))
    return mask


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    other, path = tmp_path / "other", tmp_path / "x.json"
    other.write_bytes(b"other")
    path.symlink_to(other)
    replace_beside(str(path), b"newer")
    assert (path.is_symlink(), path.read_bytes(), other.read_bytes()) == (False, b"newer", b"other")


def test_a_failure_leaves_the_older_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b"older")

    def refuse(_: str) -> None:
        raise OSError(5, "Input/output error")

    set_hook(refuse)
    try:
        with pytest.raises(OSError, match="Input/output"):
            replace_beside(str(path), b"newer")
    finally:
        set_hook(None)
    assert path.read_bytes() == b"older"
    assert names(tmp_path) == ["x.json"]


def test_what_the_dead_left_goes_and_what_the_living_write_stays(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    (tmp_path / LEFT).write_bytes(b"of a dead process")
    dead = tmp_path / (LEFT[:-1] + "0")
    dead.mkdir()
    (dead / "lock").touch()
    (dead / "content").write_bytes(b"half")
    living = tmp_path / (LEFT[:-1] + "1")
    descriptor = lock_new_file(str(living))
    assert descriptor is not None
    with stage_beside(str(path)) as staged:
        staged_name = Path(staged.path).parent.name
        replace_beside(str(path), b"newer")
        assert names(tmp_path) == sorted([living.name, staged_name, "x.json"])
    os.close(descriptor)
    clean_beside(str(path))
    assert names(tmp_path) == ["x.json"]


def test_other_names_are_not_touched(tmp_path: Path) -> None:
    for name in (".y.json.hostbuild-0123456789abcdef", LEFT + "0", LEFT[:-1], "x.json.hostbuild", ".x.json"):
        (tmp_path / name).touch()
    (tmp_path / "target").touch()
    (tmp_path / LEFT).symlink_to("target")
    before = names(tmp_path)
    clean_beside(str(tmp_path / "x.json"))
    assert names(tmp_path) == before


def test_a_directory_without_a_lock_gets_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its maker may be about to lock it."""
    (tmp_path / LEFT).mkdir()
    clean_beside(str(tmp_path / "x.json"))
    assert names(tmp_path) == [LEFT]
    monkeypatch.setattr(beside, "_GRACE", -1.0)
    clean_beside(str(tmp_path / "x.json"))
    assert names(tmp_path) == []
