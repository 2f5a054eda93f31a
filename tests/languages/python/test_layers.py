"""Which layers wheels become, and what is in them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from hostbuild.languages.base import Finished, Tree, TreeJob, TreePlan
from hostbuild.languages.python.layers import LARGE, MOST_OWN, Dependencies, plan_layers
from hostbuild.languages.python.trees import make_tree
from hostbuild.languages.python.values import Archive
from hostbuild.model import Event
from tests.wheels.handmade import make_wheel

PYTHON = "/usr/local/bin/python3.13"
SITE = "/usr/local/lib/python3.13/site-packages"


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


def test_nothing_is_installed_nothing_is_made() -> None:
    assert plan_layers([needs(), needs()]) == ((), ((), ()))


def test_the_interpreter_decides_the_commands_only() -> None:
    wheel = archive("pure")
    here = plan_layers([needs(wheel)])
    there = plan_layers([Dependencies((wheel,), "/usr/bin/python3.13", SITE)])
    assert here[0] == there[0]
    assert here[1] != there[1]


class Context:
    """Wheels in a directory, by their digests."""

    def __init__(self, *wheels: Path) -> None:
        self.events: list[Event] = []
        self.wheels = {f"sha256:{hashlib.sha256(each.read_bytes()).hexdigest()}": each for each in wheels}

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str],
        on_line: Callable[[str], None] | None = None,
    ) -> Finished:
        raise AssertionError(argv)

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def path(self, digest: str) -> str:
        return str(self.wheels[digest])

    def make(self, part: str, **more: str) -> Tree:
        listed = [[path.name, digest] for digest, path in self.wheels.items()]
        recipe = {"part": part, "wheels": listed, "interpreter": PYTHON, "site": SITE, **more}
        return make_tree(TreeJob("t", "/", "/", recipe, {}, {}), self)


def handmade(folder: Path, name: str, files: Mapping[str, bytes | str], **more: str) -> Path:
    info = f"{name}-1.0.dist-info"
    return make_wheel(
        folder,
        {**files, **{f"{info}/{key}": text for key, text in more.items()}},
        filename=f"{name}-1.0-py3-none-any.whl",
        metadata=f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        info=info,
    )


def content(tree: Tree, path: str) -> bytes:
    (entry,) = [each for each in tree.entries if each.path == path]
    assert entry.open is not None
    with entry.open() as stream:
        return stream.read()


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


@pytest.mark.parametrize("place", ["distutils-precedence.pth", "one-1.0.data/purelib/x.pth"])
def test_a_pth_file_is_read_by_the_interpreter_of_the_base(tmp_path: Path, place: str) -> None:
    context = Context(handmade(tmp_path, "one", {place: "import os\n"}))
    text = content(context.make("commands"), f"{SITE.strip('/')}/hostbuild.pth")
    assert b"/opt/python/site-packages" in text
