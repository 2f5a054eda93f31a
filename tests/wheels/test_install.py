"""A wheel becomes the entries that an installer would have made of it, and nothing leaves its place."""

from __future__ import annotations

import csv
import hashlib
import io
import stat
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from hostbuild.errors import WheelError
from hostbuild.layer import read_layer, write_layer
from hostbuild.model import Entry
from hostbuild.wheels.install import (
    Conflict,
    Installed,
    conflicts,
    install_entries,
    with_directories,
)
from hostbuild.wheels.prefix import DEFAULT_PREFIX, Prefix
from hostbuild.wheels.scripts import shebang
from hostbuild.wheels.wheel import read_wheel
from tests.wheels.handmade import DATA, INFO, METADATA, contents, make_wheel, member, record_of

PYTHON = "/usr/local/bin/python3.13"
SITE = "opt/python/site-packages"
POINTS = "[console_scripts]\nrun = demo.cli:app.main [extra]\n[gui_scripts]\nshow = demo:show\n"
FILES = {
    "demo/__init__.py": "X = 1\n",
    "demo/tool.sh": "#!/bin/sh\n",
    f"{INFO}/entry_points.txt": POINTS,
    f"{DATA}/scripts/hello": "#!python -E\nprint('hello')\n",
    f"{DATA}/scripts/plain": "#!/bin/sh\necho plain\n",
    f"{DATA}/scripts/sub/windowed": "#!pythonw\nprint('w')\n",
    f"{DATA}/headers/demo.h": "int x;\n",
    f"{DATA}/data/share/man/man1/demo.1": ".TH\n",
    f"{DATA}/purelib/extra_pure.py": "",
    f"{DATA}/platlib/extra_plat.py": "",
}


def install(path: Path, *, python: str = PYTHON, requested: bool = False) -> Installed:
    return install_entries(read_wheel(str(path), path.name), python=python, requested=requested)


def read(entry: Entry) -> bytes:
    assert entry.open is not None
    with entry.open() as stream:
        data = stream.read()
    assert len(data) == entry.size
    assert hashlib.sha256(data).hexdigest() == entry.digest
    assert (entry.kind, entry.uid, entry.gid) == ("file", 0, 0)
    return data


def by_path(entries: Iterable[Entry]) -> dict[str, bytes]:
    return {entry.path: read(entry) for entry in entries}


def refusal(path: Path) -> WheelError:
    with pytest.raises(WheelError) as caught:
        install(path)
    return caught.value


def test_every_file_comes_to_its_place(tmp_path: Path) -> None:
    installed = install(make_wheel(tmp_path, FILES))
    files = by_path(installed.files)
    assert set(files) == {
        f"{SITE}/demo/__init__.py",
        f"{SITE}/demo/tool.sh",
        f"{SITE}/extra_pure.py",
        f"{SITE}/extra_plat.py",
        f"{SITE}/{INFO}/INSTALLER",
        f"{SITE}/{INFO}/METADATA",
        f"{SITE}/{INFO}/WHEEL",
        f"{SITE}/{INFO}/entry_points.txt",
        "opt/python/bin/plain",
        "opt/python/include/python/demo/demo.h",
        "opt/python/share/man/man1/demo.1",
    }
    assert files[f"{SITE}/{INFO}/INSTALLER"] == b"hostbuild\n"
    scripts = by_path(installed.scripts)
    assert set(scripts) == {
        "opt/python/bin/run",
        "opt/python/bin/show",
        "opt/python/bin/hello",
        "opt/python/bin/sub/windowed",
        f"{SITE}/{INFO}/RECORD",
    }
    assert scripts["opt/python/bin/hello"] == f"#!{PYTHON}\nprint('hello')\n".encode()
    assert scripts["opt/python/bin/sub/windowed"] == f"#!{PYTHON}\nprint('w')\n".encode()


def test_the_record_tells_of_all_that_is_installed(tmp_path: Path) -> None:
    installed = install(make_wheel(tmp_path, FILES), requested=True)
    everything = by_path([*installed.files, *installed.scripts])
    own = f"{SITE}/{INFO}/RECORD"
    rows = list(csv.reader(io.StringIO(everything[own].decode(), newline="")))
    assert rows == sorted(rows, key=lambda fields: fields[0].encode())
    assert {fields[0]: int(fields[2] or 0) for fields in rows} == {
        relative(path): len(data) * (path != own) for path, data in everything.items()
    }
    assert f"{INFO}/REQUESTED" in {fields[0] for fields in rows}
    assert "../bin/run" in {fields[0] for fields in rows}


def relative(path: str) -> str:
    inside = path.startswith(f"{SITE}/")
    return path.removeprefix(f"{SITE}/") if inside else "../" + path.removeprefix("opt/python/")


def test_what_is_shared_does_not_depend_on_the_interpreter_or_on_being_asked_for(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, FILES)
    assert install(path).files == install(path, python="/usr/bin/python3").files
    assert install(path).files == install(path, requested=True).files
    assert install(path).scripts != install(path, python="/usr/bin/python3").scripts


def test_a_wheel_without_scripts_has_its_record_among_its_files(tmp_path: Path) -> None:
    installed = install(make_wheel(tmp_path, {"demo.py": ""}))
    assert installed.scripts == ()
    assert f"{SITE}/{INFO}/RECORD" in by_path(installed.files)
    assert f"{SITE}/{INFO}/REQUESTED" not in by_path(installed.files)


def test_what_an_installer_writes_is_not_taken_from_the_wheel(tmp_path: Path) -> None:
    own = {f"{INFO}/{name}": "evil" for name in ("INSTALLER", "REQUESTED", "direct_url.json")}
    extra = [(member(f"{INFO}/RECORD.jws"), b"{}")]
    files = by_path(install(make_wheel(tmp_path, {"demo.py": "", **own}, extra=extra)).files)
    assert files[f"{SITE}/{INFO}/INSTALLER"] == b"hostbuild\n"
    assert set(files) == {f"{SITE}/demo.py"} | {
        f"{SITE}/{INFO}/{name}" for name in ("INSTALLER", "METADATA", "RECORD", "WHEEL")
    }


def test_modes(tmp_path: Path) -> None:
    modes = {
        "demo/tool.sh": stat.S_IFREG | 0o777,
        "demo/__init__.py": stat.S_IFREG | 0o600,
        f"{DATA}/headers/demo.h": 0o777,  # no kind: not said by a Unix
        f"{DATA}/scripts/plain": stat.S_IFREG | 0o444,
    }
    installed = install(make_wheel(tmp_path, FILES, modes=modes))
    found = {entry.path: entry.mode for entry in (*installed.files, *installed.scripts)}
    executable = {path for path, mode in found.items() if mode == 0o755}
    assert executable == {
        f"{SITE}/demo/tool.sh",
        *(f"opt/python/bin/{name}" for name in ("plain", "run", "show", "hello", "sub/windowed")),
    }
    assert set(found.values()) == {0o644, 0o755}


def test_scripts_that_old_tools_made_for_entry_points_are_left_out(tmp_path: Path) -> None:
    stand_ins = {
        f"{DATA}/scripts/{name}": "#!python\n" for name in ("run", "run-script.py", "show.exe", "runner")
    }
    scripts = by_path(install(make_wheel(tmp_path, {**FILES, **stand_ins})).scripts)
    assert b"demo.cli" in scripts["opt/python/bin/run"]
    assert "opt/python/bin/runner" in scripts
    assert "opt/python/bin/run-script.py" not in scripts
    assert "opt/python/bin/show.exe" not in scripts


def test_a_command_runs(tmp_path: Path) -> None:
    files = {
        "demo/__init__.py": "",
        "demo/cli.py": "import sys\nclass app:\n  def main():\n    print(sys.argv[1:])\n    return 7\n",
        f"{INFO}/entry_points.txt": "[console_scripts]\nrun = demo.cli:app.main\n",
    }
    for folder, python in (("plain", sys.executable), ("with space", None), ("l" * 150, None)):
        if python is None:
            link = tmp_path / folder / "python"
            link.parent.mkdir()
            link.symlink_to(sys.executable)
            python = str(link)
        root = tmp_path / f"root-{folder}"
        installed = install(make_wheel(tmp_path, files), python=python)
        for entry in (*installed.files, *installed.scripts):
            target = root / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(read(entry))
            target.chmod(entry.mode)
        done = subprocess.run(
            [root / "opt/python/bin/run", "a b", "c"],
            env={"PYTHONPATH": str(root / SITE), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stdout) == (7, "['a b', 'c']\n"), done.stderr


@pytest.mark.parametrize("python", ["python", "", "/usr/bin/py\nthon", "/a b/$(x)/python", "/a b/'/python"])
def test_an_impossible_interpreter_is_refused(python: str) -> None:
    with pytest.raises(ValueError, match="interpreter"):
        shebang(python)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        (f"{DATA}/unknown/x", "none of the places"),
        (f"{DATA}/x", "none of the places"),
        (f"{DATA}/purelib/demo/__init__.py", "where"),
        (f"{DATA}/data/site-packages/demo/__init__.py", "where"),
        (f"{DATA}/data/site-packages/DEMO/__init__.py", "where"),
        (f"{DATA}/data/bin/run", "where"),
        (f"{DATA}/scripts/RUN", "where"),
        (f"{DATA}/data/bin/run/x", "where"),
        (f"{DATA}/data/site-packages/{INFO}/RECORD", "where"),
        (f"{DATA}/purelib/{INFO}/INSTALLER", "where"),
    ],
)
def test_data_for_no_place_or_for_a_taken_one_is_refused(tmp_path: Path, name: str, word: str) -> None:
    error = refusal(make_wheel(tmp_path, {**FILES, name: "evil"}))
    assert word in error.why


def test_data_does_not_leave_its_place(tmp_path: Path) -> None:
    name = f"{DATA}/scripts/../../../evil"
    whole = {**contents(FILES), name: b"x"}
    assert "'..'" in refusal(make_wheel(tmp_path, FILES, record=record_of(whole), extra=[(name, b"x")])).why


def test_a_script_that_is_not_what_record_says_is_refused(tmp_path: Path) -> None:
    name = f"{DATA}/scripts/hello"
    whole = {**contents(FILES), name: b"#!python\nprint('other')\n"}
    assert refusal(make_wheel(tmp_path, FILES, record=record_of(whole))).extra["member"] == name


def test_the_order_and_the_bytes_do_not_depend_on_the_order_in_the_archive(tmp_path: Path) -> None:
    first = install(make_wheel(tmp_path, FILES))
    second = install(make_wheel(tmp_path, dict(reversed(FILES.items()))))
    assert first == second
    for entries in (first.files, first.scripts):
        paths = [entry.path for entry in entries]
        assert paths == sorted(paths, key=str.encode)
    assert by_path(first.scripts) == by_path(second.scripts)


def test_another_prefix(tmp_path: Path) -> None:
    wheel = read_wheel(str(make_wheel(tmp_path, FILES)), "demo-1.0-py3-none-any.whl")
    prefix = Prefix(site="a/site", bin="b/bin", data="c", headers="d")
    installed = install_entries(wheel, prefix, python=PYTHON)
    found = by_path([*installed.files, *installed.scripts])
    assert {path.partition("/")[0] for path in found} == {"a", "b", "c", "d"}
    assert b"../../b/bin/run,sha256=" in found[f"a/site/{INFO}/RECORD"]


def test_entries_go_into_a_layer(tmp_path: Path) -> None:
    installed = install(make_wheel(tmp_path, FILES))
    entries = with_directories([*installed.scripts, *installed.files])
    data = bytearray()
    write_layer(entries, data.extend)
    members = {member.path for member, _ in read_layer(io.BytesIO(bytes(data)))}
    assert members == {entry.path for entry in entries}
    assert {"opt", "opt/python", "opt/python/bin", SITE, f"{SITE}/demo"} <= members
    assert with_directories(reversed([*installed.files, *installed.scripts])) == entries


def other(tmp_path: Path, files: dict[str, str], name: str = "other") -> Installed:
    directory = tmp_path / name
    directory.mkdir()
    return install(
        make_wheel(
            directory,
            files,
            filename=f"{name}-1.0-py3-none-any.whl",
            metadata=METADATA.replace("demo", name),
            info=f"{name}-1.0.dist-info",
        )
    )


def test_what_two_wheels_bring_is_told(tmp_path: Path) -> None:
    demo = install(
        make_wheel(tmp_path, {"shared/__init__.py": "", "shared/a.py": "", "shared/x.py": "1", "mod": "file"})
    )
    second = other(
        tmp_path, {"shared/__init__.py": "", "shared/b.py": "", "shared/x.py": "2", "mod/y.py": ""}
    )
    third = other(tmp_path, {"shared/__init__.py": ""}, "third")
    names = [each.wheel for each in (demo, second, third)]
    assert conflicts([demo, second, third]) == (
        Conflict(f"{SITE}/mod", tuple(names[:2]), False),
        Conflict(f"{SITE}/shared/__init__.py", tuple(names), True),
        Conflict(f"{SITE}/shared/x.py", tuple(names[:2]), False),
    )
    assert conflicts([demo, third])[0].is_same
    assert conflicts([demo]) == ()
    with pytest.raises(WheelError, match=r"other-1\.0"):
        with_directories([*demo.files, *second.files])
    merged = [entry.path for entry in with_directories([*demo.files, *third.files])]
    assert merged.count(f"{SITE}/shared/__init__.py") == 1


def test_the_same_bytes_with_another_mode_are_not_the_same(tmp_path: Path) -> None:
    demo = install(make_wheel(tmp_path, {"run": "x"}, modes={"run": stat.S_IFREG | 0o755}))
    assert conflicts([demo, other(tmp_path, {"run": "x"})])[0].is_same is False


def test_the_prefix_is_a_promise() -> None:
    assert Prefix(SITE, "opt/python/bin", "opt/python", "opt/python/include/python") == DEFAULT_PREFIX
