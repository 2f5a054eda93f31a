"""What an edit of a Python project makes anew, and what it does not ask for: uv, an index, a registry."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.architecture import HEAVY
from tests.rig.builder import Hostbuild, make_source
from tests.rig.layout import Member
from tests.rig.oci_tools import tool
from tests.rig.python_base import PLATFORMS, python_base
from tests.rig.python_image import image_over, layers_over
from tests.rig.registries import Registry
from tests.rig.sources import func_yaml

APPLICATION = {
    "pyproject.toml": '[project]\nname = "shop"\nversion = "1"\ndependencies = ["markupsafe", "click"]\n',
    "Procfile": "web: python3 shop.py\n",
    "shop.py": 'import markupsafe\n\nWORD = "one"\n',
    "note.txt": "one",
    ".funcignore": "skipped.txt\n",
}
FUNCTION = {
    "func.yaml": func_yaml("fn").replace("runtime: go", "runtime: python"),
    "requirements.txt": "markupsafe\n",
    "func.py": 'WORD = "one"\n\nasync def handle(scope, receive, send): ...\n',
}
#: A large wheel for one machine, and a small one for any: each has its layer, whatever else is added.
LARGE = {
    "requirements.txt": "sqlalchemy<2.1\n",
    "Procfile": "web: python3 shop.py\n",
    "shop.py": "",
}


class Watched:
    """Builds of one source by a hostbuild whose uv command tells of its calls."""

    def __init__(self, hostbuild: Hostbuild, folder: Path, root: Path, base: str) -> None:
        self.hostbuild, self.root, self.base = hostbuild, root, base
        self.calls = folder / "uv-calls"
        wrapper = folder / "uv"
        wrapper.write_text(f'#!/bin/sh\necho "$@" >> "{self.calls}"\nexec "{tool("uv")}" "$@"\n')
        wrapper.chmod(0o755)
        hostbuild.env["HOSTBUILD_UV"] = str(wrapper)

    def __call__(self, *more: str, **environment: str) -> tuple[str, list[str], str]:
        """Digest, calls of uv, standard error."""
        self.calls.write_text("")
        arguments = ("--base", self.base, "-t", "registry.example/shop:v1", *more)
        result = self.hostbuild("build", self.root, *arguments, env=environment)
        return result.digest, self.calls.read_text().splitlines(), result.stderr

    def layers(self) -> dict[str, list[str]]:
        layout = self.root / ".func/builds/last/oci"
        return {platform: layers_over(python_base(), layout, platform) for platform in PLATFORMS}

    def source(self) -> tuple[Member, ...]:
        """What is shipped below /func."""
        image = image_over(python_base(), self.root / ".func/builds/last/oci", PLATFORMS[0])
        return tuple(member for member in image.files.values() if member.path.startswith("func/"))


@pytest.fixture
def nowhere() -> Iterator[dict[str, str]]:
    """Variables that lead every request to a proxy that would count it; nothing may come."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        listener.setblocking(False)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        names = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        yield {**dict.fromkeys(names, address), "no_proxy": "", "NO_PROXY": ""}
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.fixture
def shop(hostbuild: Hostbuild, tmp_path: Path) -> Watched:
    return Watched(hostbuild, tmp_path, make_source(tmp_path / "src", APPLICATION), python_base().place)


@pytest.fixture
def function(hostbuild: Hostbuild, tmp_path: Path) -> Watched:
    return Watched(hostbuild, tmp_path, make_source(tmp_path / "src", FUNCTION), python_base().place)


def test_nothing_changed_starts_nothing_and_asks_nobody(shop: Watched, nowhere: dict[str, str]) -> None:
    first, calls, _ = shop()
    assert calls != []
    second, calls, said = shop(**nowhere)
    assert (second, calls) == (first, [])
    assert "up to date" in said


def test_nothing_changed_loads_nothing_heavy(shop: Watched) -> None:
    first, _, _ = shop(SOURCE_DATE_EPOCH="0")
    second, _, said = shop(SOURCE_DATE_EPOCH="0", PYTHONPROFILEIMPORTTIME="1")
    assert second == first
    loaded = set(re.findall(r"^import time:.*\|\s+([\w.]+)$", said, re.MULTILINE))
    assert "hostbuild.build" in loaded
    assert loaded & {*HEAVY, "packaging"} == set()


@pytest.mark.parametrize("kind", ["shop", "function"])
def test_one_changed_line_makes_one_layer(
    kind: str, request: pytest.FixtureRequest, nowhere: dict[str, str]
) -> None:
    build: Watched = request.getfixturevalue(kind)
    first, _, _ = build()
    before = build.layers()
    name = "shop.py" if kind == "shop" else "func.py"
    path = build.root / name
    path.write_text(path.read_text().replace("one", "two"))
    second, calls, said = build(**nowhere)
    assert second != first
    assert calls == []
    after = build.layers()
    for platform in PLATFORMS:
        assert len(after[platform]) == len(before[platform])
        assert after[platform][:-1] == before[platform][:-1]
        assert after[platform][-1] != before[platform][-1]
    assert len({layers[-1] for layers in after.values()}) == 1
    made = [line for line in said.splitlines() if re.search("writ|fetch|resolv|wheel of", line)]
    assert [line for line in made if not line.startswith("data layer")] == [], said
    assert b"two" in {member.path: member.data for member in build.source()}[f"func/{name}"]


def test_a_base_in_a_registry_named_by_its_digest_is_not_asked_again(
    shop: Watched, tmp_path: Path, nowhere: dict[str, str]
) -> None:
    with Registry("docker-registry", tmp_path / "registry") as registry:
        shop.base = python_base().push(f"{registry.address}/library/python:3.11")
        first, _, _ = shop()
    (shop.root / "shop.py").write_text('WORD = "two"\n')
    second, calls, _ = shop(**nowhere)
    assert second != first
    assert calls == []


def test_a_cache_serves_another_checkout_without_any_network(
    shop: Watched, tmp_path: Path, nowhere: dict[str, str]
) -> None:
    first, _, _ = shop()
    root = shutil.copytree(shop.root, tmp_path / "checkout", ignore=shutil.ignore_patterns(".func"))
    arguments = ("--base", shop.base, "-t", "registry.example/shop:v1", "--offline")
    assert shop.hostbuild("build", root, *arguments, env=dict(nowhere)).digest == first


def test_what_is_not_shipped_does_not_matter(shop: Watched) -> None:
    first, _, _ = shop()
    make_source(
        shop.root,
        {
            "skipped.txt": "",
            "__pycache__/shop.cpython-311.pyc": "",
            ".venv/pyvenv.cfg": "",
            ".venv/bin/python": "-> /usr/bin/python3",
            ".pytest_cache/README.md": "",
            ".git/HEAD": "ref: refs/heads/main\n",
        },
    )
    second, calls, said = shop()
    assert (second, calls) == (first, [])
    assert "up to date" in said
    shipped = {member.path for member in shop.source() if member.kind == "file"}
    assert not [path for path in shipped if re.search(r"pycache|\.venv|\.pytest_cache|\.git/", path)]


def test_another_requirement_is_resolved_and_keeps_the_layers_of_large_wheels(
    hostbuild: Hostbuild, tmp_path: Path
) -> None:
    build = Watched(hostbuild, tmp_path, make_source(tmp_path / "src", LARGE), python_base().place)
    build()
    before = build.layers()
    (build.root / "requirements.txt").write_text("sqlalchemy<2.1\nitsdangerous\nmarkupsafe\n")
    _, calls, _ = build()
    assert calls != []
    after = build.layers()
    layout = build.root / ".func/builds/last/oci"
    for platform in PLATFORMS:
        image = image_over(python_base(), layout, platform)
        large = [
            digest
            for digest, members in zip(after[platform], image.layers, strict=True)
            if any(member.path.startswith("opt/python/site-packages/sqlalchemy/") for member in members)
        ]
        assert len(large) == 1
        assert large[0] in before[platform]


def test_lines_of_a_requirement_that_say_the_same_give_the_same_image(shop: Watched) -> None:
    shop()
    before = shop.layers()
    path = shop.root / "pyproject.toml"
    path.write_text(path.read_text().replace('"markupsafe", "click"', '"click", "markupsafe"'))
    shop()
    after = shop.layers()
    assert {platform: layers[:-1] for platform, layers in after.items()} == {
        platform: layers[:-1] for platform, layers in before.items()
    }
