"""Plain command lines are read as argparse reads them, and all others are left to it."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild.cli import parsing
from hostbuild.cli.arguments import parse
from hostbuild.cli.commands import COMMANDS, Command
from hostbuild.cli.plain import Flags
from hostbuild.errors import UsageError

BY_NAME = {command.name: command for command in COMMANDS}
VALUES = ("x", "a=b", "a b", "5", "auto", "rawjson", "=", "é", "./-", "always")
ODD = (
    "",
    "-",
    "--",
    "-1",
    "-tx",
    "-vq",
    "--help",
    "-h",
    "--frob",
    "--tag=",
    "--push=x",
    "--verbose=1",
    "two",
)


def by_argparse(command: Command, words: list[str]) -> dict[str, Any] | None:
    """None where it refuses, or exits."""
    try:
        return vars(parsing.parse(command, words))
    except (UsageError, SystemExit):
        return None


def plainly(command: Command, words: list[str]) -> dict[str, Any] | None:
    found = Flags(command.fill).read(words)
    return None if found is None else vars(found)


def words_of(command: Command) -> st.SearchStrategy[list[str]]:
    names = sorted(Flags(command.fill).by_name)
    some = st.one_of(
        st.sampled_from(names).map(lambda name: (name,)),
        st.tuples(st.sampled_from(names), st.sampled_from(VALUES)),
        st.tuples(st.sampled_from(names), st.sampled_from(VALUES)).map(lambda pair: ("=".join(pair),)),
        st.sampled_from(VALUES).map(lambda value: (value,)),
        st.sampled_from(ODD).map(lambda value: (value,)),
    )
    return st.lists(some, max_size=5).map(lambda found: [word for words in found for word in words])


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_what_is_read_plainly_is_what_argparse_reads(data: st.DataObject) -> None:
    command = data.draw(st.sampled_from(COMMANDS))
    words = data.draw(words_of(command))
    found = plainly(command, words)
    if found is not None:
        assert found == by_argparse(command, words), (command.name, words)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_each_flag_alone(command: Command) -> None:
    read = 0
    for name in Flags(command.fill).by_name:
        for words in ([name], [name, "x"], [f"{name}=x"], [name, "7", "dir"], [name, "auto"], ["dir", name]):
            found = plainly(command, words)
            if found is not None:
                read += 1
                assert found == by_argparse(command, words), words
    assert read or command.name in ("push", "index create")


@pytest.mark.parametrize(
    "line",
    [
        "build",
        "build dir",
        "build -t x:v1 --platform linux/amd64,linux/arm64 dir",
        "build dir --push --tag=x --progress=plain -e A=b -q",
        "build --pull --no-cache --wait=false --registry-insecure",
        "build --dry-run --json --metadata-file m.json",
        "status --json",
        "cache prune --older-than 30d",
    ],
)
def test_what_people_write_needs_no_argparse(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = parse(line.split())
    for name in ("argparse", "hostbuild.cli.parsing"):
        monkeypatch.setitem(sys.modules, name, None)
    assert vars(parse(line.split())) == vars(expected)


@pytest.mark.parametrize("word", ["--help", "-h", "--", "-tx", "--frob", "--tag=", "-t", "", "--push=", "-1"])
def test_what_is_not_plain_is_left_to_argparse(word: str) -> None:
    assert plainly(BY_NAME["build"], [word]) is None
    assert plainly(BY_NAME["build"], ["dir", "other"]) is None


def test_lists_are_not_shared_between_command_lines() -> None:
    flags = Flags(BY_NAME["build"].fill)
    one, two = flags.read(["-t", "a", "--tag", "b"]), flags.read(["-t", "c"])
    assert one is not None
    assert two is not None
    assert (one.tag, two.tag) == (["a", "b"], ["c"])
