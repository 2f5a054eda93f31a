from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hostbuild.cli.arguments import given_settings, help_text, parse
from hostbuild.cli.commands import COMMANDS
from hostbuild.cli.index_command import targets_and_sources
from hostbuild.cli.spelling import spell_out
from hostbuild.errors import UsageError
from hostbuild.settings.table import SETTINGS


def given(*argv: str) -> dict[str, Any]:
    return given_settings(parse(argv))


def test_a_bare_pull_does_not_eat_the_directory() -> None:
    arguments = parse(["build", "--pull", "dir"])
    assert (arguments.directory, given_settings(arguments)) == ("dir", {"pull": "always"})
    assert given("build", "--pull=missing", "dir") == {"pull": "missing"}
    assert given("build", "dir", "--pull") == {"pull": "always"}


@pytest.mark.parametrize("policy", ["always", "missing", "never"])
def test_a_value_that_stands_apart_is_refused_with_advice(policy: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(["build", "--pull", policy])
    assert f"--pull={policy}" in caught.value.fix
    assert parse(["build", "--pull", f"./{policy}"]).directory == f"./{policy}"


@pytest.mark.parametrize(
    ("word", "settings"),
    [
        ("--push", {"push": True}),
        ("--push=true", {"push": True}),
        ("--push=1", {"push": True}),
        ("--push=false", {"push": False}),
        ("--no-push", {"push": False}),
        ("--wait=false", {"wait": False}),
        ("--no-cache=false", {"no-cache": False}),
        ("--no-cache", {"no-cache": True}),
        ("--tls-verify=no", {"tls-verify": False}),
        ("--registry-insecure", {"tls-verify": False}),
        ("--base-image=x", {"base": "x"}),
    ],
)
def test_switches_and_other_names(word: str, settings: dict[str, Any]) -> None:
    arguments = parse(["build", word, "dir"])
    assert (given_settings(arguments), arguments.directory) == (settings, "dir")


@pytest.mark.parametrize("word", ["--push=maybe", "--tls-verify=", "--registry-insecure=2", "--no-push=true"])
def test_a_switch_that_is_neither(word: str) -> None:
    with pytest.raises(UsageError, match=word.partition("=")[0]):
        parse(["build", word])


def test_words_after_two_dashes_are_left_alone() -> None:
    assert spell_out(["--pull", "--", "--pull", "--push=false"], SETTINGS) == [
        "--pull=always",
        *("--", "--pull", "--push=false"),
    ]
    assert parse(["build", "--", "--pull"]).directory == "--pull"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_each_command_says_what_it_takes(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse([*command.name.split(), "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: hostbuild {command.name} ")
    assert all(f"--{setting.name}" in shown for setting in command.settings)
    assert command.name in help_text()


def test_a_family_of_commands_says_what_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    for argv, code in ((["index"], 2), (["index", "--help"], 0), (["index", "-h"], 0)):
        with pytest.raises(SystemExit) as caught:
            parse(argv)
        assert caught.value.code == code
        shown = capsys.readouterr()
        assert "index create  " in (shown.err if code else shown.out)


def test_every_flag_is_known_whole() -> None:
    for command in COMMANDS:
        assert not [name for name in command.flag_names if name.endswith("-")]
        assert {f"--{setting.name}" for setting in command.settings} <= set(command.flag_names)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["frob"], "unknown command 'frob'"),
        (["bild"], "did you mean build?"),
        (["index", "creat"], "'index creat'; did you mean index create?"),
        (["build", "--tls"], "did you mean --tls-verify?"),
        (["--frob"], "unknown flag '--frob'"),
        (["build", "--platfrom", "x"], "unknown flag '--platfrom'; did you mean --platform?"),
        (["build", "--registry-insecur"], "did you mean --registry-insecure?"),
        (["build", "a", "b"], "a word too many: 'b'"),
        (["build", "--plat", "x"], "unknown flag '--plat'"),
        (["build", "--progress", "loud"], "loud"),
        (["build", "-t"], "-t/--tag"),
        (["push", "place"], "REF"),
        (["index", "create"], "REF"),
    ],
)
def test_wrong_usage_is_an_error_with_the_usage(argv: list[str], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(argv)
    assert words in caught.value.what
    assert caught.value.detail.startswith("usage: hostbuild ")
    assert "--help" in caught.value.fix


@pytest.mark.parametrize(
    "argv",
    [
        ["build", "--cred", "me:s3cret"],
        ["build", "--cred=me:s3cret"],
        ["build", ".", "-creds", "me:s3cret"],
        ["build", ".", "-ps3cret"],
        ["build", "--creds=me:x", "--frob", "s3cret"],
        ["push", "x", "y", "--credz", "me:s3cret"],
        ["login", "registry.example", "s3cret"],
        ["login", "registry.example", "-u", "me", "--pasword", "s3cret"],
        ["login", "registry.example", "--pass=s3cret"],
    ],
)
def test_what_may_be_a_login_is_not_quoted(argv: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        parse(argv)
    error = caught.value
    assert "s3cret" not in f"{error}{error.detail}{error.fix}"


def test_targets_and_sources_of_an_index() -> None:
    def split(*words: str) -> object:
        return targets_and_sources(parse(["index", "create", *words]))

    assert split("a:v1", "b", "c") == ("a:v1", (), ("b", "c"))
    assert split("-t", "a:v1", "b", "c") == ("a:v1", (), ("b", "c"))
    assert split("b", "-t", "a:v1", "--tag", "a:v2") == ("a:v1", ("a:v2",), ("b",))
    with pytest.raises(UsageError, match="'a:v1'"):
        split("a:v1")


def test_every_flag_stands_in_the_documentation() -> None:
    text = (Path(__file__).parent.parent.parent / "docs/cli.md").read_text(encoding="utf-8")
    for command in COMMANDS:
        assert f"`hostbuild {command.name} " in text
        for flag in command.flag_names:
            if flag != "--help" and not flag.startswith("--no-"):
                assert re.search(rf"`{flag}\b", text), f"{flag} of hostbuild {command.name}"
