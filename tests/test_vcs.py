import subprocess
from collections.abc import Sequence
from pathlib import Path

from hostbuild.vcs import History, read_history


def git(root: Path, *words: str, when: int = 1_700_000_000) -> None:
    environ = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(root),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_DATE": f"{when} +0100",
        "GIT_COMMITTER_DATE": f"{when} +0100",
    }
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *identity, *words], cwd=root, env=environ, check=True, capture_output=True)


def history(root: Path, *, stamp: bool = True) -> History:
    def capture(argv: Sequence[str]) -> str | None:
        done = subprocess.run(argv, cwd=root, capture_output=True, text=True, check=False)
        return done.stdout if done.returncode == 0 else None

    return read_history(capture, stamp=stamp)


def repository(root: Path) -> Path:
    source = root / "app"
    source.mkdir()
    (source / "main.go").write_text("package main\n")
    git(root, "init")
    git(root, "add", ".")
    git(root, "commit", "-m", "one")
    git(root, "tag", "-a", "-m", "r", "v1.0.0")
    return source


def test_no_repository_is_an_empty_history(tmp_path: Path) -> None:
    assert history(tmp_path) == History()


def test_no_git_is_an_empty_history() -> None:
    assert read_history(lambda _argv: None, stamp=True) == History()


def test_a_commit_elsewhere_changes_nothing(tmp_path: Path) -> None:
    source = repository(tmp_path)
    before = history(source)
    assert before.committed == 1_700_000_000
    assert before.version == "v1.0.0"
    assert len(before.revision) == 7
    (tmp_path / "other.txt").write_text("x")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "two", when=1_700_000_500)
    assert history(source) == before


def test_a_commit_to_the_source_and_a_tag_on_head(tmp_path: Path) -> None:
    source = repository(tmp_path)
    (source / "main.go").write_text("package main // edited\n")
    git(tmp_path, "commit", "-am", "two", when=1_700_000_500)
    after = history(source)
    assert after.committed == 1_700_000_500
    assert after.version.startswith("v1.0.0-1-g")
    (tmp_path / "other.txt").write_text("x")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "three")
    git(tmp_path, "tag", "v2.0.0")
    assert history(source).version == "v2.0.0"


def test_dirty_is_judged_by_the_source_alone(tmp_path: Path) -> None:
    source = repository(tmp_path)
    (tmp_path / "untracked.txt").write_text("x")
    assert not history(source).revision.endswith("-dirty")
    (source / "new.go").write_text("package main\n")
    assert history(source).revision.endswith("-dirty")


def test_without_stamp_only_the_time_is_asked(tmp_path: Path) -> None:
    assert history(repository(tmp_path), stamp=False) == History(committed=1_700_000_000)
