"""How an application is started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hostbuild.errors import DetectionError
from hostbuild.languages.python.pyproject import read_pyproject
from hostbuild.languages.python.start import Start, claims, find_start
from hostbuild.settings.table import words
from tests.languages.python.made import write

PYTHON = "/usr/bin/python3"
PROJECT = '[project]\nname = "my-app"\n'
BUILT = '[build-system]\nbuild-backend = "hatchling.build"\n'


def start(folder: Path, files: dict[str, str], package: str = "", **more: str) -> Start:
    root = str(write(folder, files))
    return find_start(root, read_pyproject(root), package=package, interpreter=PYTHON, **more)


def refused(folder: Path, files: dict[str, str], package: str = "", **more: str) -> DetectionError:
    with pytest.raises(DetectionError) as caught:
        start(folder, files, package, **more)
    return caught.value


def module(name: str) -> Start:
    return Start((PYTHON, "-m", name), f"python -m {name}")


def test_which_kind_comes_first(tmp_path: Path) -> None:
    files = {
        "pyproject.toml": f'{PROJECT}{BUILT}[project.scripts]\nserve = "app:main"\n',
        "Procfile": "worker: a\nweb: gunicorn app\n",
        "app/__main__.py": "",
        "other.py": "",
    }
    assert start(tmp_path, files, "other") == module("other")
    assert start(tmp_path, files) == Start(("gunicorn", "app"), "Procfile, web")
    (tmp_path / "Procfile").write_text("worker: a\n")
    del files["Procfile"]
    assert start(tmp_path, files) == Start(("/opt/python/bin/serve",), "[project.scripts] serve")
    files["pyproject.toml"] = PROJECT
    assert start(tmp_path, files) == module("app")


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("app", "app"),
        ("./app", "app"),
        ("app/", "app"),
        ("app.web", "app.web"),
        ("./app/web", "app.web"),
        ("app/web.py", "app.web"),
        ("./app/web.py", "app.web"),
        ("tool", "tool"),
        ("tool.py", "tool"),
        ("inner", "inner"),
        ("./src/inner", "inner"),
        ("space", "space"),
        ("space.deep", "space.deep"),
        ("tests", "tests"),
    ],
)
def test_the_package_that_is_named(package: str, name: str, tmp_path: Path) -> None:
    names = ("app/__main__.py", "app/web.py", "tool.py", "src/inner/__main__.py", "space/__main__.py")
    files = dict.fromkeys((*names, "space/deep/__main__.py", "tests/__main__.py", "Procfile"), "")
    assert start(tmp_path, files, package) == module(name)


@pytest.mark.parametrize(
    "package", ["other", "./cmd/app", "../app", "a-b", "", "/app", "app..b", "app/other.py"]
)
def test_a_package_that_is_not_there(package: str, tmp_path: Path) -> None:
    files = {"app/__main__.py": "", "run.py": "if __name__ == '__main__':\n    pass\n"}
    error = refused(tmp_path, files, package or "no")
    assert error.what == f"--package {package or 'no'}: there is no such package or module"
    assert error.fix == "there are app, run"


def test_a_package_that_cannot_be_started(tmp_path: Path) -> None:
    error = refused(tmp_path, {"app/__init__.py": ""}, "app")
    assert (error.what, error.why) == (
        "--package app: app cannot be started",
        "the package has no __main__.py",
    )


def test_a_procfile_that_needs_a_shell(tmp_path: Path) -> None:
    files = {"Procfile": "web: python -m app --port $PORT\n"}
    assert start(tmp_path, files, shell="/bin/ash").argv == (
        "/bin/ash",
        "-c",
        f"exec {PYTHON} -m app --port $PORT",
    )
    assert "has no /bin/sh" in refused(tmp_path, files, shell="").why


def test_a_procfile_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_bytes(b"web: a" + b" " * (1 << 20))
    assert refused(tmp_path, {}).what == "Procfile is larger than 1048576 bytes"
    (tmp_path / "Procfile").unlink()
    (tmp_path / "Procfile").symlink_to("Procfile")
    assert refused(tmp_path, {}).what == "cannot read Procfile"


@pytest.mark.parametrize(
    ("toml", "argv", "how"),
    [
        (f'{BUILT}[project.scripts]\nserve = "a:b"', ("/bin/dir/serve",), "[project.scripts] serve"),
        (
            f'{BUILT}[project.scripts]\nserve = "a:b"\nMy_App = "a:c"',
            ("/bin/dir/My_App",),
            "[project.scripts] My_App",
        ),
        (
            f'{BUILT}[tool.poetry.scripts]\nserve = "a:b"\nx = {{reference = "x.sh", type = "file"}}',
            ("/bin/dir/serve",),
            "[tool.poetry.scripts] serve",
        ),
        (
            '[tool.uv]\npackage = true\n[project.scripts]\nserve = "a:b"',
            ("/bin/dir/serve",),
            "[project.scripts] serve",
        ),
    ],
)
def test_a_command_of_the_project(toml: str, argv: tuple[str, ...], how: str, tmp_path: Path) -> None:
    files = {"pyproject.toml": PROJECT + toml, "app/__main__.py": ""}
    assert start(tmp_path, files, bin_dir="/bin/dir") == Start(argv, how)


@pytest.mark.parametrize("folder", ["", "src/"])
@pytest.mark.parametrize("toml", [PROJECT, PROJECT + BUILT + "[tool.uv]\npackage = false\n"])
def test_a_project_that_is_not_built_has_its_function_called(toml: str, folder: str, tmp_path: Path) -> None:
    text = "import sys\nclass App:\n    @staticmethod\n    def main():\n        print(sys.argv); return 7\n"
    files = {"pyproject.toml": f'{toml}[project.scripts]\nserve = "app.web:App.main"\n'}
    found = start(tmp_path, {**files, f"{folder}app/web.py": text})
    assert found.argv[:2] == (PYTHON, "-c")
    done = subprocess.run(
        [sys.executable, *found.argv[1:], "a b"],
        env={"PYTHONPATH": f"{tmp_path}:{tmp_path / 'src'}", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout) == (7, "['serve', 'a b']\n")


def test_a_command_of_a_module_that_is_not_there(tmp_path: Path) -> None:
    error = refused(tmp_path, {"pyproject.toml": f'{PROJECT}[project.scripts]\nserve = "app:main"\n'})
    assert "the script serve is in the module app, which is not there" in error.what
    assert "[build-system]" in error.fix


@pytest.mark.parametrize("entry", ["app", "app:", ":main", "app:main()", "a-b:c", "a; b:c"])
def test_a_command_that_names_no_function(entry: str, tmp_path: Path) -> None:
    error = refused(tmp_path, {"pyproject.toml": f'{PROJECT}{BUILT}[project.scripts]\nserve = "{entry}"\n'})
    assert "names no function" in error.what


@pytest.mark.parametrize("name", ["../serve", "a b", "a'; b", "/bin/sh"])
def test_a_command_with_another_name_than_a_file_has(name: str, tmp_path: Path) -> None:
    refused(tmp_path, {"pyproject.toml": f'{PROJECT}{BUILT}[project.scripts]\n"{name}" = "a:b"\n'})


@pytest.mark.parametrize(
    "files",
    [
        {"app/__main__.py": ""},
        {"src/app/__main__.py": ""},
        {"app/__main__.py": "", "app/__init__.py": "", "src/app/__main__.py": ""},
        {
            "app/__main__.py": "",
            "tests/__main__.py": "",
            "docs/__main__.py": "",
            ".hidden/__main__.py": "",
            "_private/__main__.py": "",
            "two.words/__main__.py": "",
            "my_env/__main__.py": "",
            "my_env/pyvenv.cfg": "",
            "build/__main__.py": "",
            "deep/er/__main__.py": "",
            "other/__init__.py": "",
        },
    ],
)
def test_the_one_package(files: dict[str, str], tmp_path: Path) -> None:
    assert start(tmp_path, files) == module("app")


def test_several_packages(tmp_path: Path) -> None:
    error = refused(tmp_path, {"b/__main__.py": "", "a/__main__.py": "", "src/c/__main__.py": ""})
    assert error.what == "3 commands could start the application"
    choices = "--package a, or --package b, or --package c"
    assert error.fix == f"choose one: {choices}; or write it into a Procfile, as web: COMMAND"


def test_several_commands(tmp_path: Path) -> None:
    scripts = '[project.scripts]\nz = "a:b"\nserve = "a:c"\n'
    files = {"pyproject.toml": PROJECT + BUILT + scripts, "app/__main__.py": "", "a.py": ""}
    error = refused(tmp_path, files)
    choices = "--entrypoint /opt/python/bin/serve, or --entrypoint /opt/python/bin/z, or --package app"
    assert error.fix.startswith(f"choose one: {choices}; or")


def test_several_functions_are_written_so_that_the_flag_takes_them(tmp_path: Path) -> None:
    scripts = '[project.scripts]\nx = "a:b"\ny = "a:c"\n'
    error = refused(tmp_path, {"pyproject.toml": PROJECT + scripts, "a.py": ""})
    shell = "for word; do printf '%s\\n' \"$word\"; done"
    flag = error.fix.removeprefix("choose one: ").partition(", or --entrypoint")[0]
    done = subprocess.run(
        ["/bin/sh", "-c", f"set -- {flag}; {shell}"], capture_output=True, text=True, check=True
    )
    name, value = done.stdout.splitlines()
    assert name == "--entrypoint"
    assert words(value, "--entrypoint") == (
        PYTHON,
        "-c",
        "import sys; sys.argv[0] = 'x'; from a import b; sys.exit(b())",
    )


def test_nothing(tmp_path: Path) -> None:
    guard = 'import a\n\n\nif __name__ == "__main__":\n    a.b()\n'
    error = refused(tmp_path, {"run.py": guard, "lib.py": "a = 1\n", "setup.py": guard, "a-b.py": guard})
    assert error.what == "nothing says how the application is started"
    assert error.fix == (
        "--package run, or --entrypoint 'COMMAND …', or --cmd 'COMMAND …'; "
        "or write it into a Procfile, as web: COMMAND"
    )


def test_nothing_is_written_or_imported(tmp_path: Path) -> None:
    files = {"app/__main__.py": "raise SystemExit(1)\n", "pyproject.toml": PROJECT}
    start(tmp_path, files)
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert found == ["app", "app/__main__.py", "pyproject.toml"]


@pytest.mark.parametrize(
    "name",
    [
        "pyproject.toml",
        "requirements.txt",
        "uv.lock",
        "pylock.toml",
        "pylock.web.toml",
        "setup.py",
        "setup.cfg",
        "main.py",
    ],
)
def test_what_is_claimed(name: str, tmp_path: Path) -> None:
    assert claims(str(write(tmp_path, {name: ""})))


@pytest.mark.parametrize(
    ("files", "claimed"),
    [
        ({"Procfile": "", "app/web.py": ""}, True),
        ({"Procfile": "", "tests/web.py": "", ".x/a.py": "", "server.js": ""}, False),
        ({"app/web.py": ""}, False),
        ({"go.mod": "", "main.go": ""}, False),
        ({}, False),
    ],
)
def test_a_procfile_alone_says_little(files: dict[str, str], claimed: bool, tmp_path: Path) -> None:
    assert claims(str(write(tmp_path, files))) is claimed


def test_a_directory_that_cannot_be_read_is_not_claimed(tmp_path: Path) -> None:
    assert not claims(str(tmp_path / "none"))
    write(tmp_path, {"Procfile": ""})
    os.symlink("none", tmp_path / "link")
    assert not claims(str(tmp_path))


def test_the_example() -> None:
    root = str(Path(__file__).parents[3] / "examples/py-webapp")
    found = find_start(root, read_pyproject(root), package="", interpreter=PYTHON)
    assert found == Start(("/opt/python/bin/py-webapp",), "[project.scripts] py-webapp")
    assert find_start(root, None, package="", interpreter=PYTHON) == module("py_webapp")
    assert claims(root)
