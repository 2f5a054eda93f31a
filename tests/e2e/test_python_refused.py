"""What a Python project asks for and cannot have: one clear error, and nothing is left behind."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.languages.python.made import sdist, wheel, write
from tests.rig.builder import Hostbuild, Result
from tests.rig.layout import read_layout
from tests.rig.python_base import PythonBase, python_base
from tests.wheels.handmade import FILENAME, make_wheel, member

THREE = "linux/amd64,linux/arm64,linux/arm/v7"


@pytest.fixture(scope="module")
def base() -> PythonBase:
    return python_base()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all of these tests: what the base holds is found out once."""
    return tmp_path_factory.mktemp("cache")


class Shop:
    """A project whose only index is a directory of wheels."""

    def __init__(self, hostbuild: Hostbuild, folder: Path, base: PythonBase, cache: Path) -> None:
        self.hostbuild = hostbuild
        hostbuild.env["HOSTBUILD_CACHE_DIR"] = str(cache)
        self.base = base
        self.wheels = folder / "wheels"
        self.wheels.mkdir()
        self.root = write(folder / "app", {"app.py": "", "Procfile": "web: python app.py\n"})

    def ask(self, *requirements: str) -> None:
        lines = ["--no-index", f"--find-links {self.wheels}", *requirements]
        (self.root / "requirements.txt").write_text("".join(f"{line}\n" for line in lines))

    def run(self, command: str, *flags: str, **environment: str) -> Result:
        where = ("--base", f"oci:{self.base.layout}")
        return self.hostbuild(command, self.root, *where, *flags, env=environment)

    def refused(self, *texts: str, code: int = 1, flags: tuple[str, ...] = ()) -> str:
        result = self.run("build", *flags)
        result.fails(code, *texts)
        assert not (self.root / ".func/builds/last").exists()
        staged = list((self.root / ".func/builds").glob("**/oci")) if (self.root / ".func").exists() else []
        assert staged == []
        return result.stderr


@pytest.fixture
def shop(hostbuild: Hostbuild, tmp_path: Path, base: PythonBase, cache: Path) -> Shop:
    return Shop(hostbuild, tmp_path, base, cache)


HOSTILE: dict[str, tuple[Mapping[str, bytes | str], str]] = {
    "zip slip": ({"../../etc/cron.d/evil": "x"}, "the part '..'"),
    "an absolute name": ({"/etc/passwd": "x"}, "absolute"),
    "a backslash": ({"a\\b.py": "x"}, "backslash"),
    "two names that differ in case": ({"demo/A.py": "1", "demo/a.py": "2"}, "cannot be there besides"),
    "a huge name": ({"demo/" + "x" * 300: "1"}, "Failed to extract archive"),
    "a scheme out of the root": ({"demo-1.0.data/data/../../x": "1"}, "the part '..'"),
    "a whiteout": ({"demo/.wh..wh..opq": ""}, "deletes files in a layer"),
    "no scheme": ({"demo-1.0.data/elsewhere/x": "1"}, "is for none of the places"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_wheel_ends_in_a_clear_error(shop: Shop, kind: str) -> None:
    files, text = HOSTILE[kind]
    make_wheel(shop.wheels, files)
    shop.ask("demo")
    shop.refused(FILENAME, text)


def test_a_link_in_a_wheel(shop: Shop) -> None:
    make_wheel(shop.wheels, {}, extra=[(member("demo/link", stat.S_IFLNK | 0o777), b"/etc/passwd")])
    shop.ask("demo")
    shop.refused(FILENAME, "link")


def test_a_wrong_record(shop: Shop) -> None:
    make_wheel(shop.wheels, {"demo.py": "A = 1\n"}, record="demo.py,sha256=" + "A" * 43 + ",6\n")
    shop.ask("demo")
    shop.refused(FILENAME, "RECORD")


def test_a_wheel_that_was_replaced_since_it_was_locked(shop: Shop) -> None:
    wheel(shop.wheels, "demo", "1.0")
    shop.ask("demo==1.0 --hash=sha256:" + "0" * 64)
    shop.refused("demo")


def test_all_that_is_missing_is_said_and_nothing_is_made(shop: Shop) -> None:
    wheel(shop.wheels, "here", "1.0")
    wheel(shop.wheels, "first", "1.0", "cp311-cp311-manylinux_2_17_x86_64")
    wheel(shop.wheels, "second", "2.0", "cp311-cp311-manylinux_2_17_aarch64")
    shop.ask("here", "first", "second")
    said = shop.refused("first 1.0", "second 2.0", "linux/arm/v7", "do what is said of each package")
    assert "data layer" not in said


def test_what_has_machine_code_in_its_source_is_missing(shop: Shop, tmp_path: Path) -> None:
    setup = (
        "from setuptools import setup, Extension\n"
        "setup(name='speed', version='1.0', ext_modules=[Extension('speed', ['speed.c'])])\n"
    )
    sdist(shop.wheels, "speed", "1.0", setup=setup)
    shop.ask("speed")
    (shop.root / "requirements.txt").write_text(f"--find-links {shop.wheels}\nspeed\n")
    shop.refused("speed 1.0")


def test_a_base_without_python(shop: Shop, tmp_path: Path) -> None:
    shop.ask()
    result = shop.hostbuild("build", shop.root, "--base", "scratch")
    result.fails(1, "needs a base image", "--base")


def test_check_says_it_as_json_and_by_its_exit_code(shop: Shop) -> None:
    wheel(shop.wheels, "here", "1.0")
    shop.ask("here")
    good = shop.run("check", "--json")
    assert good.code == 0, good.stderr
    document = json.loads(good.stdout)
    assert document["ok"] is True
    assert [each["platform"] for each in document["platforms"]] == THREE.split(",")
    assert [each["python"] for each in document["platforms"]] == ["3.11.2"] * 3
    assert document["platforms"][0]["wheels"][0]["filename"] == "here-1.0-py3-none-any.whl"
    wheel(shop.wheels, "first", "1.0", "cp311-cp311-manylinux_2_17_x86_64")
    shop.ask("here", "first")
    bad = shop.run("check", "--json")
    assert bad.code == 1
    (missing,) = json.loads(bad.stdout)["missing"]
    assert (missing["name"], len(missing["missing_for"])) == ("first", 2)
    assert not (shop.root / ".func").exists()
    text = shop.run("check")
    assert text.code == 1
    assert "first 1.0 has no wheel for linux/arm64, linux/arm/v7" in text.stdout
    assert "--platform linux/amd64" in text.stdout


def test_offline_takes_what_is_known(shop: Shop) -> None:
    wheel(shop.wheels, "demo", "1.0")
    shop.ask("demo")
    first = shop.run("build")
    assert first.code == 0, first.stderr
    (shop.root / "app.py").write_text("A = 1\n")
    again = shop.run("build", "--offline")
    assert again.code == 0, again.stderr
    assert "resolving" not in again.stderr
    assert "dependencies layer cached" in again.stderr


def test_libraries_have_a_home_to_write_to(shop: Shop) -> None:
    shop.ask()
    for flags, home in (((), "HOME=/func"), (("-e", "HOME=/mine"), "HOME=/mine"), (("--user", "7"), "")):
        result = shop.run("build", "--platform", "linux/arm64", *flags)
        assert result.code == 0, result.stderr
        (image,) = read_layout(shop.root / ".func/builds/last/oci").images.values()
        found = [text for text in image.config["config"]["Env"] if text.startswith("HOME=")]
        assert found == ([home] if home else [])


def tool(path: Path, *lines: str) -> str:
    path.write_text("#!/bin/sh\n" + "".join(f"{line}\n" for line in lines))
    path.chmod(0o755)
    return str(path)


def test_what_is_edited_while_it_is_resolved_is_no_mixture(shop: Shop, tmp_path: Path) -> None:
    wheel(shop.wheels, "demo", "1.0")
    shop.ask("demo")
    edit = f"printf '' > {shop.root}/requirements.txt"
    uv = tool(tmp_path / "uv", f'{shutil.which("uv")} "$@"', "code=$?", edit, "exit $code")
    result = shop.run("build", HOSTBUILD_UV=uv)
    result.fails(1, "requirements.txt was edited while it was looked at")


def test_a_resolver_that_hangs_is_bounded_by_the_timeout(shop: Shop, tmp_path: Path) -> None:
    wheel(shop.wheels, "demo", "1.0")
    shop.ask("demo")
    uv = tool(tmp_path / "uv", "exec sleep 600")
    shop.run("build", "--timeout", "2", HOSTBUILD_UV=uv).fails(1, "took too long", "--timeout")


def test_a_directory_whose_name_is_not_utf8(shop: Shop, tmp_path: Path) -> None:
    shop.ask()
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff"))
    shop.root.rename(root)
    shop.root = root
    result = shop.run("build", "-t", "example.org/a:1")
    assert result.code == 0, result.stderr
