"""`--compile`: the bytecode in an image is what the image's own Python runs, on every platform.

It is made by a Python of the base's minor version on this host: the one that runs the tests, or one in PATH.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.rig.builder import Hostbuild, Result, make_source
from tests.rig.layout import Image
from tests.rig.python_base import PLATFORMS, python_base
from tests.rig.python_image import (
    SITE,
    answering,
    built,
    check_records,
    image_over,
    inventory,
    layers_over,
    run_python,
    unpacked,
)
from tests.rig.python_sets import MACHINES, PROJECTS
from tests.wheels.handmade import make_wheel

FLASK = PROJECTS["flask"]

#: Prints, for each module of the packages that was imported, where its code came from.
_ORIGINS = """
import json, sys, flask
found = {}
for name, module in list(sys.modules.items()):
    spec = getattr(module, "__spec__", None)
    if spec is not None and (spec.origin or "").endswith(".py"):
        found[name] = [spec.origin, spec.cached]
name = flask.Flask.run.__code__.co_filename
print(json.dumps({"modules": found, "name": name}))
"""


def _tag(platform: str) -> str:
    """What the base's Python has in the names of its bytecode."""
    name = os.readlink(python_base().root(platform) / "usr/bin/python3")
    return f"cpython-{name.removeprefix('python').replace('.', '')}"


def layout_of(factory: pytest.TempPathFactory, *flags: str) -> Path:
    name = "compiled-flask" if flags else "plain-flask"
    return built(factory, name, FLASK.files, "--base", python_base().place, *flags)


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda each: each.replace("/", "-"))
class TestEachPlatform:
    """One class, so that a worker keeps the image for all its tests."""

    @pytest.fixture
    def layout(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return layout_of(tmp_path_factory, "--compile")

    @pytest.fixture
    def image(self, layout: Path, platform: str) -> Image:
        return image_over(python_base(), layout, platform)

    def test_every_source_has_its_bytecode_and_all_is_recorded(
        self, image: Image, platform: str, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        check_records(image)
        plain = image_over(python_base(), layout_of(tmp_path_factory), platform)
        added = set(image.files) - set(plain.files)
        sources = {path for path in plain.files if path.startswith(f"{SITE}/") and path.endswith(".py")}
        tag = _tag(platform)
        folders = {f"{path.rpartition('/')[0]}/__pycache__" for path in sources}
        wanted = {
            f"{folder}/__pycache__/{name.removesuffix('.py')}.{tag}.pyc"
            for folder, _, name in (path.rpartition("/") for path in sources)
        }
        assert added == wanted | folders
        assert len(wanted) > 100

    def test_it_is_what_runs(self, image: Image, platform: str, layout: Path, tmp_path: Path) -> None:
        """Each source is exchanged for one that fails, and nobody notices: the bytecode is unchecked."""
        with unpacked(python_base(), layout, image, tmp_path) as root:
            for source in (root / SITE).rglob("*.py"):
                source.write_text("raise SystemExit(f'{__file__} was compiled here')\n")
            inventory(image, root, *FLASK.modules)
            code, output = run_python(image, root, "-c", _ORIGINS)
            assert code == 0, output
            with answering(image, root, tmp_path / "log") as service:
                answer = service.request()
        said = json.loads(output.splitlines()[-1])
        ours = {
            origin: cached for origin, cached in said["modules"].values() if origin.startswith(f"/{SITE}/")
        }
        assert len(ours) > 50
        assert {cached.lstrip("/") for cached in ours.values()} < set(image.files)
        assert said["name"] == f"/{SITE}/flask/app.py"
        assert answer.status == 200, (tmp_path / "log").read_text()
        wanted = FLASK.answer.replace("MACHINE", MACHINES[platform])
        assert json.loads(answer.body) == json.loads(wanted)


class Shop:
    """A project whose only index is a directory of wheels."""

    def __init__(self, hostbuild: Hostbuild, folder: Path) -> None:
        self.hostbuild = hostbuild
        self.folder = folder
        wheels = folder / "wheels"
        point = {"one-1.0.dist-info/entry_points.txt": "[console_scripts]\nserve = one:main\n"}
        wheels.mkdir()
        _handmade(wheels, "one", {"one.py": "def main(): return {'x', 'y', None}\n", **point})
        _handmade(wheels, "two", {"two.py": "NAME = 'two'\n", "two_data/py2.py": "print 'x'\n"})

    def build(self, place: str, *flags: str, **environment: str) -> tuple[Result, Path]:
        files = {
            "requirements.txt": f"--no-index\n--find-links {self.folder / 'wheels'}\none\ntwo\n",
            "app.py": "",
        }
        root = self.folder / place
        if not root.exists():
            make_source(root, files)
        base = python_base().place
        given = ("--base", base, "-t", "shop", "--cmd", "serve", *flags)
        return self.hostbuild("build", root, *given, env=environment), root / ".func/builds/last/oci"


def _handmade(folder: Path, name: str, files: dict[str, bytes | str]) -> None:
    make_wheel(
        folder,
        files,
        filename=f"{name}-1.0-py3-none-any.whl",
        metadata=f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        info=f"{name}-1.0.dist-info",
    )


@pytest.fixture
def shop(hostbuild: Hostbuild, tmp_path: Path) -> Shop:
    return Shop(hostbuild, tmp_path)


def test_one_digest_wherever_it_is_built(shop: Shop, tmp_path: Path) -> None:
    first, layout = shop.build("a", "--compile")
    assert "1 of 3 sources do not compile and have no bytecode: two_data/py2.py" in first.stderr
    variables = {"PYTHONHASHSEED": "9", "PYTHONPYCACHEPREFIX": str(tmp_path / "p"), "LC_ALL": "C"}
    cold = {"HOSTBUILD_CACHE_DIR": str(tmp_path / "another-cache"), **variables}
    second, _ = shop.build("directory/of/another/name", "--compile", "--jobs", "1", **cold)
    assert second.digest == first.digest
    again, _ = shop.build("a", "--compile", **variables)
    assert again.digest == first.digest
    assert "up to date" in again.stderr
    anew, _ = shop.build("a", HOSTBUILD_COMPILE="true", HOSTBUILD_NO_CACHE="true")
    assert anew.digest == first.digest
    plain, _ = shop.build("plain")
    assert plain.digest != first.digest

    layers = [layers_over(python_base(), layout, platform) for platform in PLATFORMS]
    assert layers[0] == layers[1] == layers[2], "wheels for any machine are the same blobs on every platform"
    image = image_over(python_base(), layout, PLATFORMS[2])
    check_records(image)
    assert f"{SITE}/__pycache__/one.{_tag(PLATFORMS[2])}.pyc" in image.files


def test_a_change_of_the_flag_is_the_reason(shop: Shop) -> None:
    assert shop.build("a")[0].code == 0
    result, _ = shop.build("a", "--compile", "--dry-run")
    assert "python bytecode is new" in result.stdout + result.stderr
