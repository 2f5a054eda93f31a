"""From a project to the wheels of each platform: found out once, kept, and found out anew when it must be."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from hostbuild.bases import Network
from hostbuild.errors import DependenciesError, MissingWheelsError
from hostbuild.languages.python import resolution as room
from hostbuild.languages.python.resolution import Asked, Resolution, Resolver
from hostbuild.model import Access, Event
from hostbuild.store.cache import Cache
from hostbuild.wheels.target import Target
from hostbuild.workshop import CacheWorkshop
from tests.languages.python.made import THREE, sdist, sha256, target, wheel, write


def digest_file(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


class Shop:
    """A workshop on a cache of its own, whose command runs anew with each `open`."""

    def __init__(self, folder: Path, tools: dict[str, str]) -> None:
        self.folder = folder
        self.tools = tools
        self.events: list[Event] = []

    def resolve(
        self, root: Path, *, anew: bool = False, targets: Sequence[Target] = THREE, alone: bool = False
    ) -> Resolution:
        with Network(Access(environment=self.tools), self.events.append) as network:
            workshop = CacheWorkshop(Cache(self.folder / "cache"), network, anew=anew)
            asked = Asked(str(root), self.tools, alone=alone)
            return Resolver(asked, targets, workshop, digest_file).resolve()


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index")
    wheel(folder, "leaf", "1.0")
    wheel(folder, "leaf", "2.0")
    for machine in ("x86_64", "aarch64", "armv7l"):
        wheel(folder, "native", "1.0", f"cp313-cp313-manylinux_2_17_{machine}")
    for machine in ("x86_64", "aarch64"):
        wheel(folder, "partial", "1.0", f"cp313-cp313-manylinux_2_17_{machine}")
    setup = "from setuptools import setup\nsetup(name='onlyhere', version='1.0', py_modules=['onlyhere'])\n"
    sdist(folder, "onlyhere", "1.0", setup=setup)
    return folder


@pytest.fixture
def shop(tmp_path: Path, tools: dict[str, str], index: Path) -> Shop:
    return Shop(tmp_path, {**tools, "UV_FIND_LINKS": str(index), "HOME": str(tmp_path)})


def titles(found: Resolution) -> list[list[str]]:
    return [[f"{each.name} {each.version}" for each in wheels] for wheels in found.all_wheels]


def never(*_: object, **__: object) -> object:
    raise AssertionError("it was found out again")


def test_each_platform_has_its_own_wheel(shop: Shop, tmp_path: Path) -> None:
    root = write(tmp_path / "app", {"requirements.txt": "leaf\nnative\n"})
    found = shop.resolve(root)
    assert titles(found) == [["leaf 2.0", "native 1.0"]] * 3
    assert len({each.filename for wheels in found.wheels for each in wheels}) == 4
    assert list(found.files) == ["requirements.txt"]


def test_what_is_known_is_not_found_out_again(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write(tmp_path / "app", {"requirements.txt": "-r more.txt\nnative\n", "more.txt": "leaf\n"})
    first = shop.resolve(root)
    monkeypatch.setattr("hostbuild.languages.python.inputs.find_inputs", never)
    assert shop.resolve(root) == first
    assert set(first.files) == {"requirements.txt", "more.txt"}


@pytest.mark.parametrize("change", ["a file at the top", "a file that it includes", "another target"])
def test_what_changed_is_found_out_again(shop: Shop, tmp_path: Path, change: str) -> None:
    root = write(tmp_path / "app", {"requirements.txt": "-r in/more.txt\n", "in/more.txt": "leaf\n"})
    assert titles(shop.resolve(root)) == [["leaf 2.0"]] * 3
    if change == "a file at the top":
        write(root, {"requirements.txt": "leaf<2\n"})
        assert titles(shop.resolve(root)) == [["leaf 1.0"]] * 3
    elif change == "a file that it includes":
        write(root, {"in/more.txt": "leaf<2\n"})
        assert titles(shop.resolve(root)) == [["leaf 1.0"]] * 3
        assert titles(shop.resolve(root)) == [["leaf 1.0"]] * 3
    else:
        assert titles(shop.resolve(root, targets=THREE[:1])) == [["leaf 2.0"]]


def test_a_build_without_the_cache_locks_anew(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write(tmp_path / "app", {"requirements.txt": "leaf\n"})
    shop.resolve(root)
    monkeypatch.setattr("hostbuild.languages.python.locking.lock", never)
    assert titles(shop.resolve(root)) == [["leaf 2.0"]] * 3
    with pytest.raises(AssertionError, match="found out again"):
        shop.resolve(root, anew=True)


def test_a_package_that_is_only_source_is_built_once(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = {name: value for name, value in shop.tools.items() if name != "PIP_NO_INDEX"}
    shop.tools = tools  # the build needs setuptools
    root = write(tmp_path / "app", {"requirements.txt": "onlyhere\n"})
    found = shop.resolve(root)
    assert titles(found) == [["onlyhere 1.0"]] * 3
    assert {each.filename for wheels in found.wheels for each in wheels} == {"onlyhere-1.0-py3-none-any.whl"}
    monkeypatch.setattr("hostbuild.languages.python.building.build_wheel", never)
    assert shop.resolve(root) == found
    write(root, {"requirements.txt": "onlyhere\nleaf\n"})
    assert titles(shop.resolve(root)) == [["leaf 2.0", "onlyhere 1.0"]] * 3


def test_all_that_is_missing_is_named_at_once(shop: Shop, tmp_path: Path) -> None:
    root = write(tmp_path / "app", {"requirements.txt": "partial\nleaf\n"})
    with pytest.raises(MissingWheelsError, match=r"partial 1\.0 has no wheel for linux/arm/v7") as caught:
        shop.resolve(root)
    assert "--platform linux/amd64,linux/arm64" in caught.value.fix


def test_the_project_itself_is_a_wheel_and_follows_its_source(shop: Shop, tmp_path: Path) -> None:
    shop.tools = {name: value for name, value in shop.tools.items() if name != "PIP_NO_INDEX"}
    root = write(
        tmp_path / "app",
        {
            "pyproject.toml": '[project]\nname = "shop"\nversion = "1.5"\ndependencies = ["leaf"]\n'
            '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n',
            "shop/__init__.py": "A = 1\n",
        },
    )
    first = shop.resolve(root)
    assert titles(first) == [["leaf 2.0", "shop 1.5"]] * 3
    assert shop.resolve(root) == first
    assert not (root / "build").exists()
    write(root, {"shop/__init__.py": "A = 2\n"})
    second = shop.resolve(root)
    assert titles(second) == titles(first)
    assert second.built[0].sha256 != first.built[0].sha256
    alone = shop.resolve(root, alone=True)
    assert titles(alone) == [["leaf 2.0"]] * 3


def test_a_python_that_the_project_is_not_for(shop: Shop, tmp_path: Path) -> None:
    text = '[project]\nname = "a"\nversion = "1"\nrequires-python = ">=3.13"\n'
    root = write(tmp_path / "app", {"pyproject.toml": text})
    with pytest.raises(DependenciesError, match=r"3\.11\.2"):
        shop.resolve(root, targets=(target(python="3.11.2"),))


def test_the_recipe_is_part_of_what_is_kept(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write(tmp_path / "app", {"requirements.txt": "leaf\n"})
    shop.resolve(root)
    monkeypatch.setattr(room, "RECIPE", room.RECIPE + 1)
    monkeypatch.setattr("hostbuild.languages.python.selection.select", never)
    with pytest.raises(AssertionError, match="again"):
        shop.resolve(root)


def test_a_file_that_says_dependencies_and_is_not_read_counts_at_once(shop: Shop, tmp_path: Path) -> None:
    root = write(tmp_path / "app", {"app.py": ""})
    assert titles(shop.resolve(root)) == [[]] * 3
    write(root, {"Pipfile": ""})
    with pytest.raises(DependenciesError, match="Pipfile says what the project needs"):
        shop.resolve(root)


@pytest.mark.parametrize(
    "line", ["mine --no-index --find-links wheels", "./wheels/mine-1.0-py3-none-any.whl"]
)
def test_a_local_wheel_that_was_replaced_is_another_one(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    root = tmp_path / "app"
    first = wheel(root / "wheels", "mine", "1.0")
    write(root, {"requirements.txt": line.replace(" --", "\n--") + "\n"})
    before = shop.resolve(root)
    assert [each.sha256 for each in before.wheels[0]] == [sha256(first)]
    assert shop.resolve(root) == before
    content = first.read_bytes()
    wheel(root / "wheels", "mine", "1.0", requires=["leaf"])
    wheel(root / "wheels", "leaf", "1.0")
    after = shop.resolve(root)
    assert [each.sha256 for each in after.wheels[0] if each.name == "mine"] == [sha256(first)]
    with monkeypatch.context() as patched:
        patched.setattr("hostbuild.languages.python.inputs.find_inputs", never)
        assert shop.resolve(root) == after
    first.write_bytes(content)
    assert shop.resolve(root).wheels == before.wheels


def test_a_locked_file_that_was_replaced_is_an_error(shop: Shop, tmp_path: Path) -> None:
    root = tmp_path / "app"
    path = wheel(root, "mine", "1.0")
    file = f'{{ path = "{path.name}", hashes = {{ sha256 = "{sha256(path)}" }} }}'
    head = 'lock-version = "1.0"\ncreated-by = "x"\n[[packages]]\nname = "mine"\nversion = "1.0"\n'
    write(root, {"pylock.toml": f"{head}wheels = [{file}]\n"})
    assert titles(shop.resolve(root)) == [["mine 1.0"]] * 3
    wheel(root, "mine", "1.0", requires=["leaf"])
    with pytest.raises(DependenciesError, match="is not the file that was locked"):
        shop.resolve(root)
