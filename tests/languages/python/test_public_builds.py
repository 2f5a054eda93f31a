"""Real build backends and source archives, from the package index of this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.request import urlretrieve

import pytest

from hostbuild.errors import DependenciesError
from hostbuild.languages.python.building import build_wheel
from hostbuild.languages.python.inputs import find_inputs
from hostbuild.languages.python.locking import lock
from hostbuild.languages.python.selection import select
from hostbuild.languages.python.session import Resolving
from hostbuild.wheels.wheel import Wheel, read_wheel
from tests.languages.python.made import THREE, write

DAY = Resolving(exclude_newer="2026-11-20")


def variables() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PIP_FIND_LINKS"}
    return {**kept, "UV_EXCLUDE_NEWER": DAY.exclude_newer}


def build(source: Path, work: Path, name: str = "demo", **more: Any) -> Wheel:
    path = build_wheel(str(source), name=name, environment=variables(), work=str(work), **more)
    assert [str(each) for each in work.iterdir()] == [path]
    return read_wheel(path, os.path.basename(path))


def paths(wheel: Wheel) -> list[str]:
    return [file.path for file in wheel.files if not file.path.startswith(wheel.info_dir)]


def pyproject(backend: str, requires: str, more: str = "", *, dynamic: bool = False) -> str:
    about = 'dynamic = ["version", "description"]' if dynamic else 'version = "1.0"'
    return (
        f'[project]\nname = "demo"\n{about}\n{more}\n'
        f'[build-system]\nrequires = ["{requires}"]\nbuild-backend = "{backend}"\n'
    )


def test_setuptools_with_a_src_layout_and_package_data(tmp_path: Path, work: Path) -> None:
    files = {
        "pyproject.toml": pyproject("setuptools.build_meta", "setuptools")
        + '[tool.setuptools.package-data]\ndemo = ["*.json"]\n',
        "src/demo/__init__.py": "",
        "src/demo/data.json": "{}",
        "src/demo/__pycache__/old.pyc": "",
        "src/demo.egg-info/SOURCES.txt": "src/demo/gone.py\n",
        "build/lib/demo/stale.py": "",
    }
    wheel = build(write(tmp_path / "p", files), work)
    assert paths(wheel) == ["demo/__init__.py", "demo/data.json"]


def test_hatchling_and_the_ignore_file_of_the_repository(tmp_path: Path, work: Path) -> None:
    files = {
        ".gitignore": "local.py\n",
        ".git/HEAD": "ref: refs/heads/main\n",
        "p/pyproject.toml": pyproject(
            "hatchling.build", "hatchling", 'scripts = {demo = "demo:main"}\nrequires-python = ">=3.99"'
        ),
        "p/demo/__init__.py": "def main(): ...\n",
        "p/demo/local.py": "SECRET = 1\n",
        "p/uv.lock": "",
    }
    wheel = build(write(tmp_path, files) / "p", work)
    assert paths(wheel) == ["demo/__init__.py"]
    assert [command.name for command in wheel.commands] == ["demo"]
    assert wheel.requires_python == ">=3.99"


def test_flit(tmp_path: Path, work: Path) -> None:
    files = {
        "pyproject.toml": pyproject("flit_core.buildapi", "flit_core", dynamic=True),
        "demo.py": '"""A module."""\n__version__ = "3.1"\n',
    }
    assert build(write(tmp_path / "p", files), work).version == "3.1"


EXTENSION = """
from setuptools import Extension, setup
setup(name="demo", version="1.0", packages=["demo"],
      ext_modules=[Extension("demo._speed", ["demo/_speed.c"], optional={optional})])
"""


def test_a_c_extension(tmp_path: Path, work: Path) -> None:
    files = {"demo/__init__.py": "", "demo/_speed.c": "int answer(void) { return 42; }\n"}
    write(tmp_path / "p", {**files, "setup.py": EXTENSION.format(optional=False)})
    with pytest.raises(DependenciesError) as caught:
        build(tmp_path / "p", work)
    assert caught.value.why == "it builds machine code: demo/_speed.c"
    assert "error: " in caught.value.detail
    assert list(work.iterdir()) == []
    write(tmp_path / "p", {"setup.py": EXTENSION.format(optional=True)})
    wheel = build(tmp_path / "p", work)
    assert (wheel.filename, wheel.is_pure) == ("demo-1.0-py3-none-any.whl", True)
    assert paths(wheel) == ["demo/__init__.py"]


def test_a_workspace_member_and_a_path_dependency(tmp_path: Path, work: Path) -> None:
    hatch = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
    about = '[project]\nname = "{}"\nversion = "1.0"\nrequires-python = ">=3.11"\ndependencies = [{}]\n'
    sources = '[tool.uv.sources]\nlib = {workspace = true}\nbeside = {path = "../beside"}\n'
    files = {
        "repo/pyproject.toml": about.format("demo", '"lib", "beside"')
        + sources
        + '[tool.uv.workspace]\nmembers = ["pkgs/*"]\n',
        "repo/pkgs/lib/pyproject.toml": about.format("lib", '"beside"')
        + hatch
        + sources.replace("../", "../../../"),
        "repo/pkgs/lib/lib/__init__.py": "",
        "beside/setup.py": "import setuptools as s\ns.setup(name='beside', version='1', py_modules=['b'])\n",
        "beside/b.py": "",
    }
    root = write(tmp_path, files) / "repo"
    inputs = find_inputs(str(root), environment=variables())
    made = lock(inputs, THREE, environment=variables(), work=str(work), how=DAY)
    local = select(made, THREE, root=inputs.root).targets[2].local
    assert [each.name for each in local] == ["beside", "lib"]
    built = []
    for each in local:
        wheel = build(Path(each.path), work, each.name, subdirectory=each.subdirectory, inputs=inputs)
        built.append((wheel.filename, paths(wheel)))
        os.remove(wheel.path)
    assert built == [
        ("beside-1-py3-none-any.whl", ["b.py"]),
        ("lib-1.0-py3-none-any.whl", ["lib/__init__.py"]),
    ]
    assert not (tmp_path / "beside" / "build").exists()


def source_archive(folder: Path, name: str, version: str) -> Path:
    """The source archive, as the lock of a requirement names it."""
    write(folder, {"requirements.txt": f"{name}=={version}\n"})
    inputs = find_inputs(str(folder), environment=variables())
    made = lock(inputs, THREE, environment=variables(), work=str(folder), how=DAY)
    (missing,) = select(made, THREE, root=str(folder)).missing
    assert missing.sdist is not None
    path = folder / missing.sdist.filename
    urlretrieve(missing.sdist.url, path)
    return path


def test_an_archive_with_nothing_but_a_setup_py(tmp_path: Path, work: Path) -> None:
    wheel = build(source_archive(tmp_path, "docopt", "0.6.2"), work, "docopt", version="0.6.2")
    assert paths(wheel) == ["docopt.py"]


def test_pyyaml_is_made_pure(tmp_path: Path, work: Path) -> None:
    source = source_archive(tmp_path, "pyyaml", "6.0.2")
    wheel = build(source, work, "pyyaml", version="6.0.2")
    assert wheel.filename == "pyyaml-6.0.2-py3-none-any.whl"
    assert "yaml/cyaml.py" in paths(wheel)
    assert all(not path.endswith((".so", ".c")) for path in paths(wheel))
    first = Path(wheel.path).read_bytes()
    os.remove(wheel.path)
    assert Path(build(source, work, "pyyaml").path).read_bytes() == first


def test_an_archive_that_is_machine_code(tmp_path: Path, work: Path) -> None:
    with pytest.raises(DependenciesError) as caught:
        build(source_archive(tmp_path, "psutil", "7.0.0"), work, "psutil", version="7.0.0")
    assert caught.value.why.startswith("it builds machine code: psutil/")


def test_an_archive_whose_machine_code_is_optional(tmp_path: Path, work: Path) -> None:
    wheel = build(source_archive(tmp_path, "msgpack", "1.1.0"), work, "msgpack", version="1.1.0")
    assert (wheel.filename, wheel.is_pure) == ("msgpack-1.1.0-py3-none-any.whl", True)
    assert "msgpack/fallback.py" in paths(wheel)
