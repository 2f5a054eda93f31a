"""Which layers wheels become, and what is in them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from hostbuild.languages.base import TreePlan
from hostbuild.languages.python.layers import LARGE, MOST_OWN, Dependencies, plan_layers
from hostbuild.languages.python.values import Archive
from tests.languages.python.trees import PYTHON, SITE, Context, content, handmade


def archive(name: str, tag: str = "py3-none-any", size: int = 1000, version: str = "1.0") -> Archive:
    filename = f"{name}-{version}-{tag}.whl"
    sha256 = hashlib.sha256(filename.encode()).hexdigest()
    return Archive(name, version, filename, f"https://example.org/{filename}", "", sha256, size)


def needs(*wheels: Archive) -> Dependencies:
    return Dependencies(tuple(sorted(wheels, key=lambda wheel: wheel.name)), PYTHON, SITE)


def names(plans: Sequence[TreePlan]) -> list[str]:
    return [plan.name for plan in plans]


def test_what_all_platforms_install_is_shared_and_the_rest_is_their_own() -> None:
    pure, native = archive("pure"), [archive("native", f"cp313-cp313-{each}") for each in ("a", "b")]
    only = archive("only")
    shared, own = plan_layers([needs(pure, native[0]), needs(pure, native[1], only)])
    assert names(shared) == ["dependencies"]
    assert [names(each) for each in own] == [["dependencies", "commands"]] * 2
    assert [wheel[0] for wheel in own[1][0].recipe["wheels"]] == [native[1].filename, only.filename]


def test_one_platform_alone_has_the_same_shared_layer_as_three() -> None:
    pure, native = archive("pure"), [archive("native", f"cp313-cp313-{each}") for each in "abc"]
    three, _ = plan_layers([needs(pure, each) for each in native])
    one, _ = plan_layers([needs(pure, native[0])])
    assert one == three


def test_a_large_wheel_is_a_layer_of_its_own_whatever_lies_beside_it() -> None:
    large, small = archive("large", size=LARGE), archive("small", size=LARGE - 1)
    shared, _ = plan_layers([needs(large, small)])
    assert names(shared) == ["large 1.0", "dependencies"]
    more, _ = plan_layers([needs(large, small, archive("another"), archive("huge", size=LARGE * 9))])
    assert names(more) == ["huge 1.0", "large 1.0", "dependencies"]
    assert more[1] == shared[0]


def test_there_are_never_too_many_layers() -> None:
    wheels = [archive(f"n{number:02}", "cp313-cp313-x", LARGE + number) for number in range(60)]
    _, (own,) = plan_layers([needs(*wheels)])
    assert len(own) == MOST_OWN + 2
    assert names(own)[:-2] == [f"n{number:02} 1.0" for number in range(60 - MOST_OWN, 60)]


def test_what_is_built_of_the_source_lies_above_all_else() -> None:
    wheel, mine = archive("pure"), archive("mine", size=LARGE)
    shared, own = plan_layers([Dependencies((wheel,), PYTHON, SITE, (mine,))])
    assert (names(shared), names(own[0])) == (["dependencies"], ["commands", "project"])
    without, (commands, *_) = plan_layers([needs(wheel)])
    assert (without, commands[0]) == (shared, own[0][0])


def test_nothing_is_installed_nothing_is_made() -> None:
    assert plan_layers([needs(), needs()]) == ((), ((), ()))


def test_the_interpreter_decides_the_commands_only() -> None:
    wheel = archive("pure")
    here = plan_layers([needs(wheel)])
    there = plan_layers([Dependencies((wheel,), "/usr/bin/python3.13", SITE)])
    assert here[0] == there[0]
    assert here[1] != there[1]


def test_files_and_commands_are_apart(tmp_path: Path) -> None:
    point = "[console_scripts]\nserve = one:main\n"
    context = Context(
        handmade(tmp_path, "one", {"one.py": "def main(): ...\n"}, **{"entry_points.txt": point})
    )
    files, commands = context.make("files"), context.make("commands")
    assert "opt/python/site-packages/one.py" in [entry.path for entry in files.entries]
    assert content(commands, "opt/python/bin/serve").startswith(f"#!{PYTHON}\n".encode())
    assert {each.path for each in files.entries if each.kind == "file"}.isdisjoint(
        each.path for each in commands.entries if each.kind == "file"
    )
    assert files.created_by == "hostbuild: one 1.0"


def test_the_project_is_one_layer_with_its_commands(tmp_path: Path) -> None:
    point = "[console_scripts]\nserve = one:main\n"
    context = Context(
        handmade(tmp_path, "one", {"one.py": "def main(): ...\n"}, **{"entry_points.txt": point})
    )
    tree = context.make("project")
    assert content(tree, "opt/python/site-packages/one.py") == b"def main(): ...\n"
    assert content(tree, "opt/python/bin/serve").startswith(f"#!{PYTHON}\n".encode())
    assert b"../bin/serve," in content(tree, "opt/python/site-packages/one-1.0.dist-info/RECORD")


def test_without_commands_there_is_no_layer(tmp_path: Path) -> None:
    context = Context(handmade(tmp_path, "one", {"one.py": ""}))
    assert context.make("commands").entries == ()


def test_the_later_of_two_wheels_has_the_file_and_it_is_said(tmp_path: Path) -> None:
    context = Context(
        handmade(tmp_path, "one", {"tests/a.py": "1"}), handmade(tmp_path, "two", {"tests/a.py": "2"})
    )
    assert content(context.make("files"), "opt/python/site-packages/tests/a.py") == b"2"
    context.make("commands")
    (event,) = context.events
    assert event.kind == "warning"
    assert "one-1.0-py3-none-any.whl, two-1.0-py3-none-any.whl" in event.message


def test_a_command_that_stands_before_the_bases_own_is_told(tmp_path: Path) -> None:
    point = "[console_scripts]\npython3 = one:main\nserve = one:main\n"
    context = Context(handmade(tmp_path, "one", {"one.py": ""}, **{"entry_points.txt": point}))
    context.make("commands")
    (event,) = context.events
    assert (event.kind, "the command python3 of one-1.0" in event.message) == ("warning", True)


@pytest.mark.parametrize("place", ["distutils-precedence.pth", "one-1.0.data/purelib/x.pth"])
def test_a_pth_file_is_read_by_the_interpreter_of_the_base(tmp_path: Path, place: str) -> None:
    context = Context(handmade(tmp_path, "one", {place: "import os\n"}))
    text = content(context.make("commands"), f"{SITE.strip('/')}/hostbuild.pth")
    assert b"/opt/python/site-packages" in text
