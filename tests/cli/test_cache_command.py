from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from hostbuild import housekeeping
from hostbuild.cli import main, signals
from hostbuild.model import BuildRequest, Event
from hostbuild.oci.digest import Digest
from hostbuild.store.cache import Cache

DAY = 86400.0


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache that is not there yet, named by the variable; no settings of whoever runs the tests."""
    monkeypatch.setattr(signals, "install", lambda: None)
    for name in ("CACHE_MAX_USED_SPACE", "CACHE_MIN_FREE_SPACE"):
        monkeypatch.delenv(f"HOSTBUILD_{name}", raising=False)
    root = tmp_path / "cache"
    monkeypatch.setenv("HOSTBUILD_CACHE_DIR", str(root))
    monkeypatch.chdir(tmp_path)
    return root


def fill(root: Path, count: int = 3, size: int = 1000) -> list[Path]:
    """Blobs; the first was used `count` days ago, the last yesterday."""
    paths = []
    with Cache(root) as cache:
        for number in range(count):
            digest, _ = cache.blobs.put(f"{number:0{size}}".encode())
            paths.append(Path(cache.blobs.path(digest)))
    for number, path in enumerate(paths):
        when = time.time() - (count - number) * DAY
        os.utime(path, (when, when))
    return paths


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main.run(["cache", *words])
    said = capsys.readouterr()
    return code, said.out, said.err


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    code, out, err = run(capsys, *words, "--json")
    assert (code, err) == (0, "")
    document: dict[str, Any] = json.loads(out)
    return document


def test_the_directory_is_told_and_not_made(
    root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(capsys, "dir") == (0, f"{root}\n", "")
    assert run(capsys, "dir", "--cache-dir", "other") == (0, f"{tmp_path}/other\n", "")
    monkeypatch.delenv("HOSTBUILD_CACHE_DIR")
    (tmp_path / "hostbuild.toml").write_text('cache-dir = "mine"\n')
    assert run(capsys, "dir") == (0, f"{tmp_path}/mine\n", "")
    (tmp_path / "hostbuild.toml").unlink()
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert run(capsys, "dir") == (0, "/xdg/hostbuild\n", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["info", "verify", "prune"])
@pytest.mark.parametrize("there", [False, True])
def test_where_there_is_none_nothing_is_made(
    root: Path, capsys: pytest.CaptureFixture[str], command: str, there: bool
) -> None:
    if there:
        root.mkdir()
    assert run(capsys, command) == (0, f"there is no cache in {root}\n", "")
    assert answer(capsys, command) == {"path": str(root), "exists": False}
    assert list(root.iterdir() if there else root.parent.iterdir()) == []


@pytest.mark.parametrize("command", ["info", "verify", "prune"])
def test_what_is_no_cache_is_refused(root: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    root.mkdir()
    (root / "thesis.tex").write_text("years of work")
    code, out, err = run(capsys, command)
    assert (code, out) == (1, "")
    assert "holds other files" in err
    assert [path.name for path in root.iterdir()] == ["thesis.tex"]


def test_info(root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    paths = fill(root)
    os.link(paths[0], tmp_path / "in a layout")
    with Cache(root, owner="4711") as cache:
        cache.claims.begin()
        document = answer(capsys, "info")
        _, text, _ = run(capsys, "info")
    assert document["blobs"] == {"count": 3, "size": 3000}
    assert document["linked"] == {"count": 1, "size": 1000}
    assert document["claims"] == {"live": ["4711"], "dead": 0}
    assert document["budget"]["maxUsedSpace"] == 20 * 1024**3
    assert document["pruned"] is None
    assert "3 blobs, 3.0 kB; image layouts share 1 of them, 1.0 kB" in text
    assert "1 claims of running processes (pid 4711)" in text
    assert "last pruned: never" in text
    run(capsys, "prune", "-q")
    assert "last pruned: 0 seconds ago" in run(capsys, "info")[1]


def test_verify_and_repair(root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    bad, *_ = fill(root)
    assert run(capsys, "verify") == (0, "3 blobs, 3.0 kB, read: all are good\n", "")
    assert run(capsys, "verify", "-q") == (0, "", "")
    bad.chmod(0o644)
    bad.write_bytes(b"wrong")
    os.link(bad, tmp_path / "in a layout")
    code, out, err = run(capsys, "verify", "-q")
    assert (code, err) == (1, "")
    assert f"damaged {bad} (5 B): its bytes are not what its name says; image layouts have 1 hard link" in out
    assert "--repair" in out
    code, out, _ = run(capsys, "verify", "--json")
    document = json.loads(out)
    assert code == 1
    assert [each["path"] for each in document["damaged"]] == [str(bad)]
    assert document["damaged"][0]["digest"] == str(Digest("sha256", bad.name))
    code, out, _ = run(capsys, "verify", "--repair")
    assert (code, f"dropped {bad} (5 B)" in out, "anew" in out) == (0, True, True)
    assert not bad.exists()
    assert run(capsys, "verify")[0] == 0


def test_prune_tells_what_went_and_why(
    root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    first, second, third = fill(root)
    os.link(first, tmp_path / "in a layout")
    why = "the cache is larger than it may be"
    for dry, verb, free in ((True, "would remove", "would come free"), (False, "removed", "came free")):
        flags = ("--max-used-space", "1K", *(["--dry-run"] if dry else []))
        code, out, err = run(capsys, "prune", *flags)
        assert (code, err) == (0, "")
        assert out.splitlines() == [
            f"{verb} {first} (1.0 kB, last used 3 days ago): {why}",
            f"{verb} {second} (1.0 kB, last used 2 days ago): {why}",
            f"{verb} 2.0 kB, 1.0 kB {free}; image layouts hold 1.0 kB on",
        ]
        assert first.exists() == second.exists() == dry
    assert third.exists()
    assert run(capsys, "prune", "--max-used-space", "1K")[1] == "nothing to remove\n"


def test_prune_for_programs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, third = fill(root)
    (root / "tmp" / "tmp.1.0123456789abcdef").write_text("12345")
    (root / "claims" / "claim.77.0123456789abcdef").touch()
    document = answer(capsys, "prune", "--older-than", "60h")
    assert [each["path"] for each in document["removed"] if each["kind"] == "blob"] == [str(first)]
    assert document["removed"][-1]["why"] == "not used for 3 days"
    assert not (root / "claims" / "claim.77.0123456789abcdef").exists()
    assert (document["used"], document["unmet"], document["dryRun"]) == (2000, [], False)
    assert answer(capsys, "prune", "--all")["freed"] == 2000
    assert not second.exists()
    assert not third.exists()


def test_what_a_build_uses_stays(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, *_ = fill(root)
    with Cache(root) as builder:
        assert builder.blobs.claim(Digest("sha256", first.name), 1000)
        _, out, _ = run(capsys, "prune", "--max-used-space", "10")
        assert "1.0 kB stay: running builds use them" in out
        assert "the cache still has 1.0 kB: the rest is in use" in out
        assert first.exists()


def test_without_flags_the_budget_counts(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = fill(root)
    Path("hostbuild.toml").write_text('cache-max-used-space = "2K"\ncache-min-free-space = "none"\n')
    assert answer(capsys, "prune")["size"] == 1000
    monkeypatch.setenv("HOSTBUILD_CACHE_MAX_USED_SPACE", "none")
    assert answer(capsys, "prune")["size"] == 0
    monkeypatch.setenv("HOSTBUILD_CACHE_MAX_USED_SPACE", "1000")
    assert answer(capsys, "prune")["size"] == 1000
    assert [path.exists() for path in paths] == [False, False, True]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max-used-space", "10X"], "--max-used-space: '10X' is not a size"),
        (["--min-free-space=-1"], "--min-free-space: '-1' is not a size"),
        (["--older-than", "30"], "--older-than: '30' is not an age"),
        (["--all", "--older-than", "1d"], "--all removes all that is not in use"),
        (["somewhere"], "too many"),
        (["--keep", "3"], "unknown flag '--keep'"),
    ],
)
def test_wrong_usage(root: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    paths = fill(root)
    code, out, err = run(capsys, "prune", *words)
    assert (code, out) == (2, "")
    assert message in err
    assert all(path.exists() for path in paths)


def test_a_near_word_is_meant(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "purne")
    assert (code, "did you mean cache prune?" in err) == (2, True)
    with pytest.raises(SystemExit):
        main.run(["cache"])
    assert "cache prune" in capsys.readouterr().err


def test_a_build_keeps_the_cache_within_its_budget(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = fill(root)
    told: list[Event] = []
    request = BuildRequest("src", cache_max_used_space=2500, cache_min_free_space=0)
    with Cache(root) as cache:
        housekeeping.keep_within_budget(cache, request, told.append)
        housekeeping.keep_within_budget(cache, request, told.append)
        assert [event.message for event in told] == [
            "the cache was pruned: 1 blob not used for longest, 1000 bytes"
        ]
        assert [path.exists() for path in paths] == [False, True, True]
        (root / "pruned").unlink()
        (root / "pruned").symlink_to("elsewhere")
        os.utime(root / "pruned", (1, 1), follow_symlinks=False)
        housekeeping.keep_within_budget(cache, request, told.append)
    assert [event.kind for event in told] == ["info", "warning"]
    assert "symbolic link" in told[1].message


def test_the_default_leaves_a_small_disk_its_cache(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hostbuild.store.inventory.disk_size", lambda directory: 10**9)
    goals = housekeeping.goals_of(None, None, str(root))
    assert (goals.max_used, goals.min_free) == (20 << 30, 5 * 10**7)
    monkeypatch.setattr("hostbuild.store.inventory.disk_size", lambda directory: 10**12)
    assert housekeeping.goals_of(0, None, str(root))[:2] == (0, 1 << 30)
