"""A Procfile's commands, with the shells of this machine as the judge of those that need one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild.errors import DetectionError
from hostbuild.languages.python.procfile import command, parse_procfile

SHELLS = [path for name in ("dash", "bash", "busybox") if (path := shutil.which(name))]


def words(text: str, shell: str = "/bin/sh") -> tuple[str, ...]:
    return command(text, interpreter="/py/python3", shell=shell)


def test_lines() -> None:
    data = b"\xef\xbb\xbf# ours\nweb: gunicorn app:app  \r\n\nworker-1 :  run: me\nrelease:\nnone\n 9x_: a\n"
    assert parse_procfile(data) == {"web": "gunicorn app:app", "worker-1": "run: me", "9x_": "a"}


def test_two_commands_of_one_name() -> None:
    with pytest.raises(DetectionError, match="Procfile:3: a second line web:"):
        parse_procfile(b"web: a\n\nweb: b\n")


def test_no_text() -> None:
    with pytest.raises(DetectionError, match="Procfile is not UTF-8"):
        parse_procfile(b"web: \xff\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gunicorn app:app", ("gunicorn", "app:app")),
        ("gunicorn 'app:create()' -b \"[::]:8080\"", ("gunicorn", "app:create()", "-b", "[::]:8080")),
        ("exec gunicorn app", ("gunicorn", "app")),
        ("python -m app", ("/py/python3", "-m", "app")),
        ("exec  python3 app.py", ("/py/python3", "app.py")),
        ("python3.12 app.py", ("python3.12", "app.py")),
        ("./run a=b --c=d", ("./run", "a=b", "--c=d")),
        ("a b#c d~e", ("a", "b#c", "d~e")),
        ("'my program' ''", ("my program", "")),
    ],
)
def test_what_needs_no_shell(text: str, expected: tuple[str, ...]) -> None:
    assert words(text) == words(text, shell="") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gunicorn -b :$PORT a", "exec gunicorn -b :$PORT a"),
        ("exec gunicorn -b :$PORT a", "exec gunicorn -b :$PORT a"),
        ('gunicorn -b "0.0.0.0:${PORT:-8000}"', 'exec gunicorn -b "0.0.0.0:${PORT:-8000}"'),
        ("python -m app --port $PORT", "exec /py/python3 -m app --port $PORT"),
        ("A=1 B='x y' python app.py", "A=1 B='x y' exec /py/python3 app.py"),
        ("cd app && gunicorn a", "cd app && exec gunicorn a"),
        ("cd app; python a.py", "cd app; exec /py/python3 a.py"),
        ("python m.py migrate && A=1 gunicorn a", "/py/python3 m.py migrate && A=1 exec gunicorn a"),
        ("a && exec b", "a && exec b"),
        ("gunicorn a 2>&1 >log", "exec gunicorn a 2>&1 >log"),
        ("gunicorn a # don't; &", "exec gunicorn a # don't; &"),
        ("gunicorn -w $(nproc) a", "exec gunicorn -w $(nproc) a"),
        ("run *.txt", "exec run *.txt"),
        ("run ~/x a\\ b", "exec run ~/x a\\ b"),
        ("run '$x;&' \"a;$b\"", "exec run '$x;&' \"a;$b\""),
        # Where the last command cannot take the shell's place, or it is not clear which one it is.
        ("a || python b", "a || /py/python3 b"),
        ("a | b", "a | b"),
        ("a &", "a &"),
        ("a;", "a;"),
        ("(a)", "(a)"),
        ("cd app", "cd app"),
        ("if a; then b; fi", "if a; then b; fi"),
        ("a -w $(b && c)", "a -w $(b && c)"),
        ("a `b; c`", "a `b; c`"),
        ("$RUN a", "$RUN a"),
        ("! a", "! a"),
        ("exec", "exec"),
        ("exec -a web gunicorn $A", "exec -a web gunicorn $A"),
    ],
)
def test_what_needs_a_shell(text: str, expected: str) -> None:
    assert words(text, "/bin/dash") == ("/bin/dash", "-c", expected)
    with pytest.raises(DetectionError, match="needs a shell") as caught:
        words(text, shell="")
    assert repr(text) in caught.value.what


@pytest.mark.parametrize("text", ["a 'b", 'a "b', 'a "b\\"', "a && 'b"])
def test_a_quote_without_its_end(text: str) -> None:
    with pytest.raises(DetectionError, match="a quote without its end"):
        words(text)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "text",
    [
        "show a $PORT",
        "X=1 Y='2 3' show $PORT",
        "X=1; export X; show a",
        "cd sub && X=2 show $PORT",
        "show one && show two",
        "false || show $PORT",
        "false && show a; show b",
        "show $(echo a b) `echo c`",
        "show '$PORT' \"$PORT\" \\$PORT",
        "show a | cat",
        "{ show a; }",
        "for i in 1 2; do show $i; done",
        "(cd sub; show a)",
        "if true; then show a; fi",
        'show ${PORT:-1} "${NONE:-a; b}" # it\'s $PORT',
        "show *.txt",
        "exec show $PORT",
    ],
)
def test_a_shell_does_the_same_as_with_the_text(text: str, shell: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.txt").touch()
    show = tmp_path / "bin" / "show"
    show.parent.mkdir()
    show.write_text('#!/bin/sh\necho "$#:$*:$X:$Y:${PWD##*/}"\n')
    show.chmod(0o755)
    environment = {"PATH": f"{show.parent}:{os.environ['PATH']}", "PORT": "8080"}
    name = [shell, "sh"] if shell.endswith("busybox") else [shell]

    def run(argv: list[str]) -> str:
        done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    made = words(text, shell)
    assert made[:2] == (shell, "-c")
    assert run([*name, *made[1:]]) == run([*name, "-c", text]) != ""


@given(st.text("ab '\"$`\\;&|(){}<>#~!=*\t", min_size=1, max_size=30))
@settings(max_examples=300, deadline=None)
def test_any_text_gives_words_or_is_refused(text: str) -> None:
    try:
        made = words(text)
    except DetectionError:
        return
    assert made
