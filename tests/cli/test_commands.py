"""push, index create, login, logout: what they hand on and print; the rooms below are played."""

from __future__ import annotations

import getpass
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from hostbuild import joining, pushing
from hostbuild.cli import main, signals
from hostbuild.errors import AuthenticationError
from hostbuild.joining import Joined
from hostbuild.model import Access, Event
from hostbuild.oci.digest import Digest
from hostbuild.oci.reference import Reference
from hostbuild.registry import Pushed, login

DATA = b'{"manifests":[]}'
DIGEST = Digest.of(DATA)


class Played:
    """Takes the place of a function below; keeps what it was given."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.words: tuple[Any, ...] = ()
        self.named: dict[str, Any] = {}

    def __call__(self, *words: Any, on_event: Any = None, **named: Any) -> Any:
        self.words, self.named = words, named
        if on_event is not None:
            on_event(Event("warning", "played"))
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    @property
    def access(self) -> Access:
        return next(word for word in self.words if isinstance(word, Access))


def pushed(*names: str) -> tuple[Pushed, ...]:
    return tuple(Pushed(Reference.parse(name), DIGEST, "pushed", 7) for name in names)


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No handlers and no settings of whoever runs the tests."""
    monkeypatch.setattr(signals, "install", lambda: None)
    for name in ("HOSTBUILD_CREDS", "HOSTBUILD_PROGRESS", "HOSTBUILD_TLS_VERIFY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def pushes(monkeypatch: pytest.MonkeyPatch) -> Played:
    played = Played(pushed("r.example/team/app:v1", "s.example/app:v2"))
    monkeypatch.setattr(pushing, "push_place", played)
    return played


@pytest.fixture
def joins(monkeypatch: pytest.MonkeyPatch) -> Played:
    played = Played(Joined(DATA, DIGEST, pushed("r.example/app:v1")))
    monkeypatch.setattr(joining, "create_index", played)
    return played


@pytest.fixture
def logins(monkeypatch: pytest.MonkeyPatch) -> Played:
    played = Played("/home/u/.docker/config.json")
    monkeypatch.setattr(login, "login", played)
    return played


Out = pytest.CaptureFixture[str]


def test_push_prints_one_line(pushes: Played, capsys: Out, tmp_path: Path) -> None:
    flags = ["--tls-verify=false", "--creds", "me:word", "--digestfile", "d"]
    assert main.run(["push", "image.tar", "r.example/team/app:v1", "s.example/app:v2", *flags]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"r.example/team/app@{DIGEST}\n"
    assert shown.err == "warning: played\n"
    assert pushes.words[:2] == ("image.tar", ("r.example/team/app:v1", "s.example/app:v2"))
    assert pushes.named == {"by_digest": False, "cache_dir": ""}
    assert (pushes.access.verify, pushes.access.credentials) == (False, (("r.example", "me:word"),))
    assert (tmp_path / "d").read_text() == str(DIGEST)


def test_a_source_that_is_pushed_keeps_its_settings(pushes: Played, capsys: Out, tmp_path: Path) -> None:
    (tmp_path / "hostbuild.toml").write_text('retry-time = 5\ncache-dir = "kept"\n')
    assert main.run(["push", ".", "r.example/x", "--push-by-digest", "-q"]) == 0
    assert pushes.access.retry_time == 5.0
    assert pushes.named == {"by_digest": True, "cache_dir": os.path.join(".", "kept")}
    (tmp_path / "oci-layout").write_text("{}")
    assert main.run(["push", ".", "r.example/x"]) == 0
    assert pushes.access.retry_time == Access().retry_time
    capsys.readouterr()


def test_push_by_digest_has_no_tag(pushes: Played, capsys: Out) -> None:
    for name in ("r.example:5000/x:v1", "s.example/y:v2"):
        assert main.run(["push", ".", "r.example:5000/x", name, "--push-by-digest"]) == 2
        said = capsys.readouterr().err
        assert f"write {name.rpartition(':')[0]}; " in said
        assert f"{name!r} names one" in said
    assert pushes.words == ()


def test_a_place_may_say_what_it_is(pushes: Played, capsys: Out, tmp_path: Path) -> None:
    (tmp_path / "layout").mkdir()
    (tmp_path / "layout/oci-layout").write_text("{}")
    (tmp_path / "source").mkdir()
    assert main.run(["push", "oci:layout", "r.example/x"]) == 0
    assert pushes.words[0] == "layout"
    assert main.run(["push", "oci:source", "r.example/x"]) == 1
    assert "'source' holds no image" in capsys.readouterr().err
    assert main.run(["push", "oci-archive:layout", "r.example/x"]) == 1
    assert "fix: write oci:layout" in capsys.readouterr().err


def test_push_as_json(pushes: Played, capsys: Out) -> None:
    assert main.run(["push", "image.tar", "r.example/team/app:v1", "--progress", "rawjson"]) == 0
    shown = capsys.readouterr()
    warning, result = map(json.loads, shown.err.splitlines())
    assert (warning["kind"], result["kind"], result["message"]) == ("warning", "result", shown.out.strip())
    assert result["data"]["pushed"][0] == {
        "reference": "r.example/team/app:v1",
        "digest": str(DIGEST),
        "status": "pushed",
        "sent": 7,
    }


def test_a_failed_push_prints_no_line_and_leaves_no_file(
    monkeypatch: pytest.MonkeyPatch, capsys: Out, tmp_path: Path
) -> None:
    (tmp_path / "d").write_text("old")
    error = AuthenticationError("r.example refuses", why="https://me:s3cret@r.example", fix="log in")
    monkeypatch.setattr(pushing, "push_place", Played(error))
    assert main.run(["push", "x", "r.example/x", "--digestfile", "d"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "error: r.example refuses\n" in shown.err
    assert "s3cret" not in shown.err
    assert not (tmp_path / "d").exists()


def test_index_create_prints_one_line(joins: Played, capsys: Out) -> None:
    words = [
        "r.example/app:v1",
        "r.example/app@sha256:1",
        "sha256:2",
        "--annotation",
        "index:a=b",
        "--registry-mirror",
        "docker.io=c.example",
    ]
    assert main.run(["index", "create", *words]) == 0
    assert capsys.readouterr().out == f"r.example/app@{DIGEST}\n"
    assert joins.words[:2] == ("r.example/app:v1", ("r.example/app@sha256:1", "sha256:2"))
    cache = joins.named.pop("cache_dir")
    assert str(cache).endswith("/hostbuild")
    assert joins.named == {"tags": (), "annotations": ("index:a=b",), "dry_run": False}
    assert joins.access.mirrors == (("docker.io", "c.example"),)


def test_index_create_with_tags_and_dry_run(joins: Played, capsys: Out, tmp_path: Path) -> None:
    (tmp_path / "d").write_text("old")
    words = ["-t", "r.example/app:v1", "-t", "r.example/app:v2", "a", "b", "--dry-run", "--digestfile", "d"]
    assert main.run(["index", "create", *words]) == 0
    assert capsys.readouterr().out == '{"manifests":[]}\n'
    assert joins.words[:2] == ("r.example/app:v1", ("a", "b"))
    del joins.named["cache_dir"]
    assert joins.named == {"tags": ("r.example/app:v2",), "annotations": (), "dry_run": True}
    assert (tmp_path / "d").read_text() == "old"


def stream_of(data: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8")


def test_a_password_that_is_not_utf8(
    logins: Played, capsys: Out, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "stdin", stream_of(b"s3cr\xe9t\n"))
    assert main.run(["login", "r.example", "-u", "me", "--password-stdin", "-v"]) == 2
    monkeypatch.setattr(sys, "stdin", Untypable())
    assert main.run(["login", "r.example"]) == 2
    shown = capsys.readouterr()
    assert "error: the password is not UTF-8" in shown.err
    assert "error: what was typed is not UTF-8" in shown.err
    assert "s3cr" not in shown.err.replace("--password-stdin", "")
    assert logins.words == ()


class Untypable:
    """A terminal in another encoding."""

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return b"s3cr\xe9t".decode()


def test_login_reads_the_password_from_standard_input(
    logins: Played, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOSTBUILD_CREDS", "nobody asks for this")
    for text in ("s3cret", "s3cret\n", "s3cret\r\n"):
        monkeypatch.setattr(sys, "stdin", stream_of(text.encode()))
        assert main.run(["login", "https://r.example:5000/", "-u", "me", "--password-stdin"]) == 0
        assert logins.words[1:] == ("r.example:5000", "me", "s3cret")
    shown = capsys.readouterr()
    assert "logged in to r.example:5000 as me; stored in /home/u/.docker/config.json\n" in shown.out
    assert "s3cret" not in shown.out + shown.err


def test_login_with_a_password_in_argv_warns(logins: Played, capsys: Out) -> None:
    assert main.run(["login", "-u", "me", "-p", "s3cret"]) == 0
    assert logins.words[1:] == ("docker.io", "me", "s3cret")
    shown = capsys.readouterr()
    assert "--password-stdin" in shown.err
    assert "s3cret" not in shown.out + shown.err


@pytest.mark.parametrize(
    ("flags", "text", "advice"),
    [
        ([], "", "--password-stdin"),
        (["-u", "me"], "", "-u me --password-stdin"),
        (["-u", "me too"], "", "-u 'me too' --password-stdin"),
        (["--password-stdin"], "s3cret", "-u USER"),
        (["-u", "me", "--password-stdin"], "\n", "login"),
        (["-u", "me", "--password-stdin", "-p", "s3cret"], "", "--password"),
        (["-u", "me:too", "--password-stdin"], "s3cret", "-u"),
        (["-u", "me", "--password-stdin"], "s3cret" * 20_000, "only"),
        (["-u", "", "-p", "s3cret"], "", "--password-stdin"),
    ],
)
def test_login_without_what_it_needs(
    logins: Played, capsys: Out, monkeypatch: pytest.MonkeyPatch, flags: list[str], text: str, advice: str
) -> None:
    monkeypatch.setattr(sys, "stdin", stream_of(text.encode()))
    assert main.run(["login", "r.example", *flags]) == 2
    shown = capsys.readouterr()
    assert advice in shown.err.partition("fix:")[2]
    assert (shown.out, logins.words) == ("", ())
    assert "s3cret" not in shown.err


class Terminal(io.StringIO):
    """Somebody who answers at once."""

    def isatty(self) -> bool:
        return True


def test_login_asks_for_what_is_missing(logins: Played, capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return "s3cret"

    monkeypatch.setattr(getpass, "getpass", ask)
    monkeypatch.setattr(sys, "stdin", Terminal("me\n"))
    assert main.run(["login", "r.example"]) == 0
    assert logins.words[1:] == ("r.example", "me", "s3cret")
    assert asked == ["password for me at r.example: "]
    monkeypatch.setattr(sys, "stdin", Terminal("\n"))
    assert main.run(["login", "r.example"]) == 2
    assert len(asked) == 1
    assert "the user is empty" in capsys.readouterr().err


@pytest.mark.parametrize("end", [EOFError(), signals.InterruptedBySignal(2)])
def test_a_prompt_that_is_left(
    logins: Played, capsys: Out, monkeypatch: pytest.MonkeyPatch, end: BaseException
) -> None:
    def leave(prompt: str) -> str:
        sys.stderr.write(prompt)
        raise end

    monkeypatch.setattr(getpass, "getpass", leave)
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert main.run(["login", "r.example", "-u", "me"]) == (2 if isinstance(end, EOFError) else 130)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "password for me at r.example: "
    assert len(lines) > 1
    assert logins.words == ()


def test_logout_says_what_it_did(monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    for places, words in (
        (("/a",), "logged out of docker.io; removed from /a"),
        ((), "no login for docker.io"),
    ):
        played = Played(places)
        monkeypatch.setattr(login, "logout", played)
        assert main.run(["logout", "https://index.docker.io/v1/", "--authfile", "f"]) == 0
        assert capsys.readouterr().out.startswith(words)
        assert played.access.authfile == "f"


def test_login_reaches_the_real_room(capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens there: the error is the registry room's, and tells no secret."""
    monkeypatch.setattr(sys, "stdin", stream_of(b"s3cret"))
    code = main.run(
        ["login", "127.0.0.1:1", "-u", "me", "--password-stdin", "--retry-time", "0", "--authfile", "a"]
    )
    shown = capsys.readouterr()
    assert (code, shown.out) == (75, "")
    assert "127.0.0.1:1" in shown.err
    assert "s3cret" not in shown.err
    Path("a").write_text("{}")
    assert main.run(["logout", "127.0.0.1:1", "--authfile", "a"]) == 0
    assert capsys.readouterr().out == "no login for 127.0.0.1:1 is stored\n"
