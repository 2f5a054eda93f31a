"""Which files a target gets out of a lock; the locks in data/ were recorded of uv."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild.errors import DependenciesError, UsageError
from hostbuild.languages.python.lockfile import Lock, clean, read_lock
from hostbuild.languages.python.selection import select
from hostbuild.languages.python.values import Archive, LocalBuild, Selection
from hostbuild.oci.digest import Digest
from tests.languages.python.made import THREE, target

DATA = Path(__file__).parent / "data"
AMD64, ARM64, ARM = THREE


def recorded(name: str, **fields: Any) -> Lock:
    path = DATA / f"pylock.{name}.toml"
    document, _ = read_lock(str(path), path.name, root=str(DATA))
    return Lock(document, path.name, **fields)


def titles(selection: Selection, number: int) -> list[str]:
    return [f"{each.name} {each.version}" for each in selection.targets[number].wheels]


FLASK = ["blinker", "click", "flask", "itsdangerous", "jinja2", "markupsafe", "werkzeug"]


def test_each_target_gets_one_wheel_a_package() -> None:
    found = select(recorded("flask"), THREE, root="/p")
    assert found.missing == ()
    for number in range(3):
        assert [each.name for each in found.targets[number].wheels] == FLASK
    assert [each.wheels[5].filename.partition("-cp313-")[2] for each in found.targets] == [
        "cp313-manylinux2014_x86_64.manylinux_2_17_x86_64.manylinux_2_28_x86_64.whl",
        "cp313-manylinux2014_aarch64.manylinux_2_17_aarch64.manylinux_2_28_aarch64.whl",
        "cp313-manylinux2014_armv7l.manylinux_2_17_armv7l.manylinux_2_31_armv7l.whl",
    ]
    pure = [[each for each in one.wheels if each.name != "markupsafe"] for one in found.targets]
    assert pure[0] == pure[1] == pure[2]


def test_musl_gets_the_wheels_for_musl() -> None:
    found = select(recorded("flask"), [target("linux/arm64", libc="musl", libc_version="1.2")], root="/p")
    assert "musllinux_1_2_aarch64" in found.targets[0].wheels[5].filename


def test_markers_are_the_target_s() -> None:
    found = select(recorded("markers"), THREE, root="/p")
    assert titles(found, 0) == ["numpy 2.3.5"]
    assert titles(found, 1) == ["grpcio 1.85.1", "numpy 2.3.5", "typing-extensions 4.16.0"]
    assert titles(found, 2) == []
    assert [(each.name, each.version, [gap.platform for gap in each.gaps]) for each in found.missing] == [
        ("docopt", "0.6.2", ["linux/amd64", "linux/arm64", "linux/arm/v7"]),
        ("numpy", "2.2.6", ["linux/arm/v7"]),
    ]
    docopt = found.missing[0]
    assert docopt.sdist is not None
    assert (docopt.sdist.filename, docopt.wheels) == ("docopt-0.6.2.tar.gz", ())
    assert docopt.gaps[0].reason == "the lock names no wheel of it"


def test_all_that_is_missing_is_told_at_once() -> None:
    found = select(recorded("pyyaml"), THREE, root="/p")
    assert [each.name for each in found.missing] == ["cffi", "pyyaml"]
    assert {gap for each in found.missing for gap in each.gaps} == {
        ("linux/arm/v7", "3.13.5", "glibc 2.36", "no wheel for armv7l", False)
    }
    assert [each.name for each in found.targets[2].wheels] == ["pycparser"]


def test_what_is_chosen_is_what_is_fetched() -> None:
    (found,) = select(recorded("flask"), [AMD64], root="/p").targets
    chosen = found.wheels[0]
    assert chosen.filename == "blinker-1.9.0-py3-none-any.whl"
    assert chosen.source() == (chosen.filename, chosen.url, Digest("sha256", chosen.sha256), chosen.size)
    assert (chosen.path, len(chosen.sha256), chosen.size) == ("", 64, 8458)


def test_the_order_of_the_file_decides_nothing() -> None:
    one = recorded("flask")
    document = copy.deepcopy(dict(one.document))
    document["packages"].reverse()
    for package in document["packages"]:
        package.get("wheels", []).reverse()
    other = Lock(document, "x")
    assert select(one, THREE, root="/p") == select(other, THREE, root="/p")


# What follows is handmade.


def lock(*packages: dict[str, Any], top: dict[str, Any] | None = None, **fields: Any) -> Lock:
    document = {"lock-version": "1.0", "created-by": "test", **(top or {}), "packages": list(packages)}
    cleaned, _ = clean(document, "pylock.toml", folder="/p", root="/p")
    return Lock(cleaned, "pylock.toml", **fields)


def archive(filename: str, digit: str = "a", **more: Any) -> dict[str, Any]:
    return {"url": f"https://h.example/{filename}", "hashes": {"sha256": digit * 64}, **more}


def package(name: str, *filenames: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "version": "1", "wheels": [archive(each) for each in filenames], **more}


def chosen(*filenames: str, **fields: Any) -> str:
    found = select(lock(package("a", *filenames, **fields)), [AMD64], root="/p")
    assert found.missing == ()
    return found.targets[0].wheels[0].filename


@pytest.mark.parametrize(
    ("filenames", "best"),
    [
        (["a-1-py3-none-any.whl", "a-1-cp313-cp313-manylinux_2_17_x86_64.whl"], 1),
        (["a-1-cp313-cp313-manylinux_2_17_x86_64.whl", "a-1-cp313-cp313-manylinux_2_28_x86_64.whl"], 1),
        (["a-1-cp313-cp313-manylinux_2_39_x86_64.whl", "a-1-cp313-cp313-manylinux2014_x86_64.whl"], 1),
        (["a-1-cp39-abi3-manylinux_2_17_x86_64.whl", "a-1-cp313-cp313-manylinux_2_17_x86_64.whl"], 1),
        (["a-1-cp314-cp314-manylinux_2_17_x86_64.whl", "a-1-cp39-abi3-manylinux_2_17_x86_64.whl"], 1),
        (["a-1-cp313-cp313t-manylinux_2_17_x86_64.whl", "a-1-py2.py3-none-any.whl"], 1),
        (["a-1-py3-none-any.whl", "a-1-2-py3-none-any.whl", "a-1-10-py3-none-any.whl"], 2),
        (["a-1-9-py3-none-any.whl", "a-1-1-cp313-cp313-linux_x86_64.whl"], 1),
        (["a-1-cp313-cp313-musllinux_1_2_x86_64.whl", "a-1-py3-none-any.whl"], 1),
    ],
)
def test_the_best_wheel_by_the_target_s_order(filenames: list[str], best: int) -> None:
    assert chosen(*filenames) == filenames[best]
    assert chosen(*reversed(filenames)) == filenames[best]


FILENAMES = [
    f"a-1-{tag}.whl"
    for tag in (
        "py3-none-any",
        "cp313-cp313-manylinux_2_17_x86_64",
        "cp313-cp313-manylinux_2_36_x86_64",
        "cp310-abi3-manylinux2014_x86_64",
        "cp313-none-any",
        "1-py3-none-any",
        "cp313-cp313-linux_x86_64",
    )
]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(FILENAMES), min_size=1, unique=True), st.randoms())
def test_one_wheel_is_chosen_whatever_the_order(filenames: list[str], random: Any) -> None:
    shuffled = list(filenames)
    random.shuffle(shuffled)
    assert chosen(*filenames) == chosen(*shuffled)


def test_of_one_file_in_two_places_the_first_is_taken() -> None:
    name = "a-1-py3-none-any.whl"
    two = {
        "name": "a",
        "version": "1",
        "wheels": [{**archive(name), "url": f"file:///w/{name}"}, archive(name)],
    }
    (found,) = select(lock(two), [AMD64], root="/p").targets
    assert (found.wheels[0].url, found.wheels[0].path) == ("", f"/w/{name}")


def test_the_trap_that_nothing_is_selected_is_an_error() -> None:
    only = package("a", "a-1-py3-none-any.whl", marker="platform_machine == 'x86_64'")
    assert len(select(lock(only), [AMD64], root="/p").targets[0].wheels) == 1
    with pytest.raises(DependenciesError) as caught:
        select(lock(only), THREE, root="/p")
    assert caught.value.what == "pylock.toml does not cover every target"
    assert "linux/arm64 (Python 3.13.5): none of its 1 packages" in caught.value.why
    assert "linux/arm/v7 (Python 3.13.5)" in caught.value.why
    assert "linux/amd64" not in caught.value.why


def test_nothing_is_right_where_the_lock_was_made_for_the_target() -> None:
    only = package("a", "a-1-py3-none-any.whl", marker="sys_platform == 'win32'")
    made = lock(only, environments=("platform_machine == 'x86_64'",))
    assert select(made, [AMD64], root="/p").targets[0].wheels == ()
    declared = lock(only, top={"environments": ["platform_machine == 'x86_64'"]})
    assert select(declared, [AMD64], root="/p").targets[0].wheels == ()
    assert select(lock(), [AMD64], root="/p").targets[0].wheels == ()


@pytest.mark.parametrize(
    ("top", "why"),
    [
        (
            {"environments": ["platform_machine == 'x86_64'"]},
            "linux/arm64 (Python 3.13.5): Provided environment",
        ),
        ({"requires-python": ">=3.14"}, "'>=3.14'"),
    ],
)
def test_a_target_that_the_lock_excludes(top: dict[str, Any], why: str) -> None:
    with pytest.raises(DependenciesError) as caught:
        select(lock(package("a", "a-1-py3-none-any.whl"), top=top), [ARM64], root="/p")
    assert why in caught.value.why


def test_two_entries_of_one_package_for_one_target_are_refused() -> None:
    two = [package("a", "a-1-py3-none-any.whl"), package("a", "a-1-py3-none-any.whl")]
    with pytest.raises(DependenciesError, match="Multiple packages"):
        select(lock(*two), [AMD64], root="/p")


def test_directories_are_things_to_build() -> None:
    made = lock(
        {"name": "z", "directory": {"path": ".", "editable": True}},
        {"name": "b", "directory": {"path": "../lib", "subdirectory": "python"}},
    )
    (found,) = select(made, [AMD64], root="/p").targets
    assert found.local == (
        LocalBuild("b", "/lib", "python", False),
        LocalBuild("z", "/p", "", True),
    )


def test_archives_by_url_and_by_path() -> None:
    first = "a-1.2-py3-none-any.whl"
    made = lock(
        {"name": "a", "archive": archive(first, size=7)},
        {"name": "b", "archive": {"path": "w/b-2-py3-none-any.whl", "hashes": {"sha256": "B" * 64}}},
        {"name": "c", "archive": archive("c-1.zip")},
        {"name": "d", "archive": archive("d-1-cp313-cp313-win_amd64.whl")},
    )
    found = select(made, [AMD64], root="/p")
    assert found.targets[0].wheels == (
        Archive(
            "a", "1.2", "a-1.2-py3-none-any.whl", "https://h.example/a-1.2-py3-none-any.whl", "", "a" * 64, 7
        ),
        Archive("b", "2", "b-2-py3-none-any.whl", "", "/p/w/b-2-py3-none-any.whl", "b" * 64, None),
    )
    assert [(each.name, each.sdist and each.sdist.filename) for each in found.missing] == [
        ("c", "c-1.zip"),
        ("d", None),
    ]


def test_version_control_is_refused_with_all_names() -> None:
    made = lock(
        *(
            {"name": n, "vcs": {"type": "git", "url": f"https://h.example/{n}", "commit-id": "0"}}
            for n in "ab"
        )
    )
    with pytest.raises(DependenciesError) as caught:
        select(made, [AMD64], root="/p")
    assert caught.value.detail == "a: git https://h.example/a\nb: git https://h.example/b"


def test_a_file_without_a_hash_is_refused() -> None:
    made = lock(
        {"name": "a", "version": "1", "wheels": [{**archive("a-1-py3-none-any.whl"), "hashes": {"md5": "0"}}]}
    )
    with pytest.raises(DependenciesError, match="have no SHA-256") as caught:
        select(made, [AMD64], root="/p")
    assert caught.value.detail == "a 1: a-1-py3-none-any.whl"


def test_only_the_files_whose_hashes_are_asked_for() -> None:
    two = {
        "name": "a",
        "version": "1",
        "wheels": [
            archive("a-1-cp313-cp313-manylinux_2_17_x86_64.whl", "1"),
            archive("a-1-py3-none-any.whl", "2"),
            archive("a-1-cp313-cp313-manylinux_2_17_aarch64.whl", "3"),
        ],
    }
    both = lock(two, hashes={"a": ("2" * 64,)})
    assert [each.wheels[0].sha256[0] for each in select(both, THREE, root="/p").targets] == ["2", "2", "2"]
    one = lock(two, hashes={"a": ("1" * 64,)})
    with pytest.raises(DependenciesError, match="not those of the files that are needed") as caught:
        select(one, THREE, root="/p")
    assert "a 1: a-1-py3-none-any.whl" in caught.value.detail
    none = lock(two, hashes={"b": ("1" * 64,)})
    with pytest.raises(DependenciesError, match="not those of the files"):
        select(none, [AMD64], root="/p")


def test_extras_and_groups_of_a_lock() -> None:
    packages = [
        package("a", "a-1-py3-none-any.whl"),
        package("x", "x-1-py3-none-any.whl", marker="'web' in extras"),
        package("d", "d-1-py3-none-any.whl", marker="'base' in dependency_groups"),
        package("g", "g-1-py3-none-any.whl", marker="'prod' in dependency_groups"),
    ]
    top = {"extras": ["web"], "dependency-groups": ["base", "prod"], "default-groups": ["base"]}

    def names(**fields: Any) -> str:
        (found,) = select(lock(*packages, top=top, **fields), [AMD64], root="/p").targets
        return "".join(each.name for each in found.wheels)

    assert names() == "ad"
    assert names(extras=("web",)) == "adx"
    assert names(groups=("prod",)) == "adg"
    with pytest.raises(UsageError, match="has no extra 'other'") as caught:
        names(extras=("other",))
    assert caught.value.fix == "it has web"


def test_what_could_not_be_built_is_told_with_the_package() -> None:
    made = lock(
        {"name": "a", "version": "1", "sdist": archive("a-1.tar.gz")}, unbuildable={"a": "no compiler\n"}
    )
    (found,) = select(made, [AMD64], root="/p").missing
    assert found.note == "no compiler\n"


# The lock as a value.


def test_what_a_lock_must_not_hold_is_cut_out() -> None:
    document = {
        "lock-version": "1.0",
        "created-by": "test",
        "tool": {"x": {"secret": "s3cret"}},
        "packages": [
            {
                "name": "b",
                "index": "https://u:s3cret@h.example/simple",
                "version": "1",
                "wheels": [archive("b-1-py3-none-any.whl")],
                "tool": {"token": "s3cret"},
            },
            {
                "name": "a",
                "archive": {"url": "https://s3cret@h.example/a-1.zip", "hashes": {"sha256": "a" * 64}},
            },
            {"name": "c", "directory": {"path": "x/../c"}},
        ],
    }
    cleaned, warnings = clean(document, "pylock.toml", folder="/p/locks", root="/p")
    assert "s3cret" not in f"{cleaned}{warnings}"
    assert [each["name"] for each in cleaned["packages"]] == ["a", "b", "c"]
    assert cleaned["packages"][0]["archive"]["url"] == "https://h.example/a-1.zip"
    assert cleaned["packages"][2]["directory"]["path"] == "locks/c"
    assert warnings == tuple(
        f"pylock.toml: the user and password in a URL of {name} were left out" for name in ("b", "a")
    )


def test_a_lock_goes_through_json() -> None:
    import json

    made = recorded("flask", hashes={"a": ("1",)}, unbuildable={"x": "y"}, extras=("e",), warnings=("w",))
    again = Lock.from_json(json.loads(json.dumps(made.to_json())))
    assert again == made
    assert Lock.from_json({**made.to_json(), "format": 0}) is None


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("lock-version = '2.0'\ncreated-by = 'x'\npackages = []", "is not a valid lock"),
        ("packages = []", "is not a valid lock"),
        ("lock-version = '1.0'\ncreated-by = 'x'\n[[packages]]\nname='a'", "is not a valid lock"),
        ("nonsense", "cannot be read"),
    ],
)
def test_what_is_no_lock(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "pylock.toml").write_text(text)
    with pytest.raises(DependenciesError, match=f"pylock.toml {what}"):
        read_lock(str(tmp_path / "pylock.toml"), "pylock.toml", root=str(tmp_path))


def test_a_name_that_stands_for_a_thousand_million_tags_is_refused_at_once(tmp_path: Path) -> None:
    tags = "-".join(".".join(f"{letter}{number}" for number in range(3000)) for letter in "pax")
    hashes = f'{{ sha256 = "{"0" * 64}" }}'
    wheel = f'{{ name = "a-1-{tags}.whl", url = "https://h.example/a.whl", hashes = {hashes} }}'
    head = 'lock-version = "1.0"\ncreated-by = "x"\n[[packages]]\nname = "a"\nversion = "1"\n'
    text = f"{head}wheels = [{wheel}]\n"
    (tmp_path / "pylock.toml").write_text(text)
    with pytest.raises(DependenciesError, match="more than 255 bytes"):
        read_lock(str(tmp_path / "pylock.toml"), "pylock.toml", root=str(tmp_path))


def test_a_number_of_thousands_of_digits_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "pylock.toml").write_text(f"[tool]\na = {'9' * 5000}\n")
    with pytest.raises(DependenciesError, match="cannot be read"):
        read_lock(str(tmp_path / "pylock.toml"), "pylock.toml", root=str(tmp_path))
