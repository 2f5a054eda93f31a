from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from hostbuild.errors import BuildTimeoutError, CredentialsError
from hostbuild.model import Event
from hostbuild.process.command import Captured, capture
from hostbuild.registry import helpers
from hostbuild.registry.helpers import Helper

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}

#: A helper as real ones are: a program that keeps its secrets in a file.
PROGRAM = """#!/usr/bin/env python3
import json, os, sys
path = os.environ["HELPER_STORE"]
store = json.load(open(path)) if os.path.exists(path) else {}
text = sys.stdin.read()
open(path + ".argv", "a").write(repr(sys.argv[1:]) + "\\n")
verb = sys.argv[1]
if verb == "store":
    document = json.loads(text)
    store[document["ServerURL"]] = document
elif text.strip() not in store:
    print("credentials not found in native keychain")
    sys.exit(1)
elif verb == "get":
    print(json.dumps(store[text.strip()]))
elif verb == "erase":
    del store[text.strip()]
json.dump(store, open(path, "w"))
"""


def program(tmp_path: Path, name: str, text: str) -> dict[str, str]:
    path = tmp_path / f"docker-credential-{name}"
    path.write_text(text)
    path.chmod(0o755)
    return {"PATH": f"{tmp_path}:/usr/bin:/bin", "HELPER_STORE": str(tmp_path / "store.json")}


def shell(tmp_path: Path, script: str) -> Helper:
    return Helper("x", program(tmp_path, "x", f"#!/bin/sh\n{script}\n"), capture)


def test_store_get_erase_with_a_real_program(tmp_path: Path) -> None:
    helper = Helper("file", program(tmp_path, "file", PROGRAM), capture)
    assert helper.get("reg.example") is None
    helper.store("reg.example", "joe", 'pass"wörd')
    assert helper.get("reg.example") == ("joe", 'pass"wörd')
    assert helper.get("other.example") is None
    assert helper.erase("reg.example") is True
    assert helper.erase("reg.example") is False
    assert helper.get("reg.example") is None
    arguments = (tmp_path / "store.json.argv").read_text()
    assert "pass" not in arguments
    assert "joe" not in arguments


def test_nothing_kept_may_be_an_empty_answer(tmp_path: Path) -> None:
    assert shell(tmp_path, """echo '{"ServerURL":"x","Username":"","Secret":""}'""").get("x") is None


@pytest.mark.parametrize(
    "answer", ["", "hello", "[]", "null", '{"Username": "joe"}', '{"Username":1,"Secret":2}']
)
def test_answers_that_cannot_be_understood(tmp_path: Path, answer: str) -> None:
    with pytest.raises(CredentialsError, match="docker-credential-x gave no credentials") as caught:
        shell(tmp_path, f"echo '{answer}'").get("reg.example")
    assert "reg.example" in str(caught.value)


def test_a_helper_that_fails_is_named_with_what_it_says(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError) as caught:
        shell(tmp_path, "printf 'store is locked\\033[31m'; echo noise >&2; exit 3").erase("x")
    assert caught.value.what == "the credential helper docker-credential-x erase failed"
    assert caught.value.why == "exit code 3: store is locked [31m"


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (
            """echo '{"Username":"joe","Secret":"hunter2"}'; exit 1""",
            "exit code 1: what it wrote to standard",
        ),
        ("""echo '{"Secret":"hunter2"}'; echo bad hunter2 >&2; exit 1""", "exit code 1: bad ***"),
        ("echo hunter2; echo locked: hunter2 >&2; exit 2", "exit code 2: locked: ***"),
        (
            "echo credentials not found in the vault; exit 1",
            "exit code 1: credentials not found in the vault",
        ),
        ("echo credentials not found hunter2; exit 1", "exit code 1: what it wrote to standard output"),
        ("exit 1", "exit code 1"),
    ],
)
def test_what_a_failing_get_wrote_is_never_shown(tmp_path: Path, script: str, why: str) -> None:
    with pytest.raises(CredentialsError, match="docker-credential-x get failed") as caught:
        shell(tmp_path, script).get("reg.example")
    assert caught.value.why.startswith(why)
    assert "hunter2" not in f"{caught.value!r}{caught.value}{caught.value.fix}{caught.value.detail}"


def test_a_helper_that_writes_without_end(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="more than the 1048576 bytes"):
        shell(tmp_path, "exec yes").get("x")


def test_a_helper_that_fails_on_standard_error_only(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="exit code 1: no bus"):
        shell(tmp_path, "echo no bus >&2; exit 1").erase("x")


def test_a_secret_that_a_failing_helper_repeats_is_hidden(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError) as caught:
        shell(tmp_path, "cat; exit 1").store("x", "joe", "hunter2")
    assert "hunter2" not in f"{caught.value}{caught.value.fix}{caught.value.detail}{caught.value!r}"


def test_a_missing_helper_is_named() -> None:
    with pytest.raises(CredentialsError, match="docker-credential-nowhere cannot be started") as caught:
        Helper("nowhere", ENVIRONMENT, capture).get("x")
    assert caught.value.why == "no such program in PATH"
    assert "credsStore" in caught.value.fix


def test_a_helper_that_is_not_executable(tmp_path: Path) -> None:
    environment = program(tmp_path, "x", "#!/bin/sh\n")
    (tmp_path / "docker-credential-x").chmod(0o644)
    with pytest.raises(CredentialsError, match="cannot be started"):
        Helper("x", environment, capture).get("x")


def test_a_helper_that_does_not_end() -> None:
    def never(argv: object, **_: object) -> Captured:
        raise BuildTimeoutError("docker-credential-x took too long")

    with pytest.raises(CredentialsError, match="did not end within 60 s"):
        Helper("x", ENVIRONMENT, never).get("x")


def test_one_that_hangs_is_told_and_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helpers, "HELPER_PATIENCE", 0.05)
    monkeypatch.setattr(helpers, "HELPER_TIMEOUT", 0.5)
    events: list[Event] = []
    # What it starts holds its output open, as key stores' prompts do.
    environment = program(tmp_path, "x", "#!/bin/sh\nsleep 600 &\nsleep 600\n")
    with pytest.raises(CredentialsError, match="docker-credential-x get did not end within") as caught:
        Helper("x", environment, capture, events.append).get("x")
    assert "credsStore" in caught.value.fix
    (event,) = events
    assert event.kind == "waiting"
    assert "docker-credential-x" in event.message
    assert event.data["for"] == "docker-credential-x"


def test_one_that_is_quick_is_not_told(tmp_path: Path) -> None:
    events: list[Event] = []
    environment = program(tmp_path, "file", PROGRAM)
    assert Helper("file", environment, capture, events.append).get("reg.example") is None
    assert events == []


@pytest.mark.parametrize("name", ["", "../evil", "a b", "-x", "a/b", "x;y"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(CredentialsError, match="is not the name of a credential helper"):
        Helper(name, ENVIRONMENT, capture)


def test_what_a_helper_is_given() -> None:
    seen: list[tuple[list[str], bytes | None]] = []

    def run(argv: Sequence[str], *, stdin: bytes | None, **_: object) -> Captured:
        seen.append((list(argv), stdin))
        return Captured(0, b'{"Username":"u","Secret":"s"}', "")

    helper = Helper("x", ENVIRONMENT, run)
    helper.get("https://index.docker.io/v1/")
    helper.store("reg", "joe", "s")
    helper.erase("reg")
    assert [argv for argv, _ in seen] == [
        ["docker-credential-x", "get"],
        ["docker-credential-x", "store"],
        ["docker-credential-x", "erase"],
    ]
    assert seen[0][1] == b"https://index.docker.io/v1/"
    assert json.loads(seen[1][1] or b"") == {"ServerURL": "reg", "Username": "joe", "Secret": "s"}
    assert seen[2][1] == b"reg"
