"""From source to a pure wheel, by the real uv and small build backends: nothing is asked of any index."""

from __future__ import annotations

import io
import os
import tarfile
import threading
import zipfile
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from hostbuild.errors import (
    DependenciesError,
    OfflineError,
    SourceChangedError,
    ToolMissingError,
    WheelError,
)
from hostbuild.languages.python.building import EPOCH, build_variables, build_wheel, source_files
from hostbuild.languages.python.inputs import find_inputs
from hostbuild.wheels.wheel import read_wheel
from tests.languages.python.backends import backend, project
from tests.languages.python.made import environment, sha256, write
from tests.languages.python.test_private_index import PASSWORD, Handler

ELF = "FILES['pkg/_speed.so'] = b'\\x7fELF' + bytes(60)"
COMPILE = "subprocess.run([os.environ['CC'], '-c', 'src/speed.c'], check={check})"


def build(root: Path, tools: dict[str, str], work: Path, *, name: str = "demo", **more: Any) -> Path:
    """The wheel; nothing else is left."""
    path = Path(build_wheel(str(root), name=name, environment=tools, work=str(work), **more))
    assert list(work.iterdir()) == [path]
    return path


def failure(root: Path, tools: dict[str, str], work: Path, **more: Any) -> DependenciesError:
    with pytest.raises(DependenciesError) as caught:
        build(root, tools, work, **more)
    assert list(work.iterdir()) == []
    assert str(work) not in f"{caught.value.what}{caught.value.why}{caught.value.detail}"
    return caught.value


def members(path: Path) -> list[str]:
    return [each for each in zipfile.ZipFile(path).namelist() if ".dist-info/" not in each]


def listed(root: Path) -> list[str]:
    return sorted(str(each.relative_to(root)) for each in root.rglob("*"))


def test_a_directory_is_built_out_of_a_copy(tmp_path: Path, tools: dict[str, str], work: Path) -> None:
    root = project(tmp_path / "p", "def step():\n    open('made.txt', 'w').close()\n    os.mkdir('build')\n")
    before = listed(root)
    path = build(root, tools, work)
    assert path.name == "demo-1.0-py3-none-any.whl"
    assert members(path) == ["pkg/__init__.py"]
    assert listed(root) == before
    wheel = read_wheel(str(path), path.name)
    assert (wheel.name, wheel.version, wheel.is_pure) == ("demo", "1.0", True)
    assert {each.date_time for each in zipfile.ZipFile(path).infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_same_source_gives_the_same_bytes(
    tmp_path: Path, uv_home: Path, tools: dict[str, str], work: Path
) -> None:
    step = "FILES['pkg/told.txt'] = ascii([os.environ.get(each) for each in SEEN]).encode()\n"
    names = ["SOURCE_DATE_EPOCH", "PYTHONHASHSEED", "TZ", "LC_ALL", "PYTHONPATH"]
    step = f"SEEN = {names}\ndef step():\n    {step}    os.utime('pkg/__init__.py', None)\n"
    first = build(project(tmp_path / "one", step), tools, work)
    told = zipfile.ZipFile(first).read("pkg/told.txt").decode()
    assert told == f"['{EPOCH}', '0', 'UTC', 'C.UTF-8', None]"
    digest = sha256(first)
    first.unlink()
    other = environment(uv_home, PIP_NO_INDEX="1", TZ="Asia/Tokyo", PYTHONPATH="/x", LC_ALL="C")
    two = project(tmp_path / "two" / "elsewhere", step)
    (two / "pkg" / "__init__.py").chmod(0o600)
    before = os.umask(0o077)
    try:
        assert sha256(build(two, other, work)) == digest
    finally:
        os.umask(before)


LEFT_OUT = {
    ".git/config": "",
    ".venv/lib/x.py": "",
    "env/pyvenv.cfg": "",
    "build/lib/old.py": "",
    "dist/demo-0.9.tar.gz": "",
    "demo.egg-info/PKG-INFO": "",
    "src/demo.egg-info/SOURCES.txt": "pkg/gone.py",
    "pkg/__pycache__/x.cpython-311.pyc": "",
    "pkg/old.pyc": "",
    ".pytest_cache/x": "",
    ".func/builds/last": "",
    ".env": "PASSWORD=x",
    "node_modules/left/pad.js": "",
}


def test_what_is_no_source_is_not_copied(tmp_path: Path, tools: dict[str, str], work: Path) -> None:
    step = """
        def step():
            found = [os.path.join(at, each) for at, _, names in os.walk(".") for each in names]
            FILES["pkg/seen.txt"] = "\\n".join(sorted(found)).encode()
    """
    kept = {"build.py": "", "pkg/build/tool.py": "", "pkg/dist/data.txt": "", ".gitignore": ""}
    root = project(tmp_path / "p", step, files={**LEFT_OUT, **kept})
    seen = zipfile.ZipFile(build(root, tools, work)).read("pkg/seen.txt").decode().split("\n")
    own = [".gitignore", "build.py", "pkg/__init__.py", "pkg/build/tool.py", "pkg/dist/data.txt"]
    assert seen == sorted(f"./{each}" for each in (*own, "pyproject.toml", "tiny.py"))
    assert [path for path, _ in source_files(str(root), lambda path: "")] == sorted(
        each.removeprefix("./") for each in seen
    )


def test_the_copy_is_what_the_key_said(tmp_path: Path, tools: dict[str, str], work: Path) -> None:
    root = project(tmp_path)
    files = source_files(str(root), lambda path: sha256(Path(path)))
    path = build_wheel(str(root), name="demo", environment=tools, work=str(work), files=files)
    os.remove(path)
    for change in (
        {"pkg/__init__.py": "X = 2\n"},
        {"pkg/__init__.py": "X = 1\n", "more.py": ""},
    ):
        write(root, change)
        with pytest.raises(SourceChangedError):
            build_wheel(str(root), name="demo", environment=tools, work=str(work), files=files)
    (root / "more.py").unlink()
    (root / "tiny.py").unlink()
    with pytest.raises(SourceChangedError, match=r"'tiny\.py' was changed"):
        build_wheel(str(root), name="demo", environment=tools, work=str(work), files=files)
    assert list(work.iterdir()) == []


def test_a_subdirectory_sees_what_lies_beside_it(tmp_path: Path, tools: dict[str, str], work: Path) -> None:
    step = "def step():\n    FILES['pkg/v.txt'] = open('../version.txt', 'rb').read()\n"
    project(tmp_path / "lib", step)
    write(tmp_path, {"version.txt": "7"})
    path = build(tmp_path, tools, work, subdirectory="lib")
    assert zipfile.ZipFile(path).read("pkg/v.txt") == b"7"


def archive(folder: Path, step: str = "") -> Path:
    root = project(folder / "demo-1.0", step)
    write(root, {"PKG-INFO": "Metadata-Version: 2.2\nName: demo\nVersion: 1.0\n"})
    path = folder / "demo-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as stream:
        stream.add(root, "demo-1.0")
    return path


def test_an_archive(tmp_path: Path, tools: dict[str, str], work: Path) -> None:
    path = build(archive(tmp_path), tools, work, version="1.0")
    assert members(path) == ["pkg/__init__.py"]


def test_a_link_to_an_archive_that_has_another_name(
    tmp_path: Path, tools: dict[str, str], work: Path
) -> None:
    kept = archive(tmp_path).rename(tmp_path / "0123abcd")
    link = tmp_path / "demo-1.0.tar.gz"
    link.symlink_to(kept)
    assert members(build(link, tools, work, version="1.0.0")) == ["pkg/__init__.py"]


def test_what_is_no_archive(tmp_path: Path, tools: dict[str, str], work: Path) -> None:
    path = tmp_path / "demo-1.0.tar.gz"
    path.write_bytes(b"nothing")
    assert "demo 1.0 cannot be built" in failure(path, tools, work, version="1.0").what
    with tarfile.open(path, "w:gz") as stream:
        entry = tarfile.TarInfo("../evil")
        stream.addfile(entry, io.BytesIO())
    failure(path, tools, work, version="1.0")


# What is refused.


def test_machine_code_is_refused_wherever_it_comes_from(
    tmp_path: Path, tools: dict[str, str], work: Path
) -> None:
    in_it = failure(project(tmp_path / "a", f"def step():\n    {ELF}\n"), tools, work)
    assert in_it.why == "it builds machine code: pkg/_speed.so"
    needs = failure(project(tmp_path / "b", f"def step():\n    {COMPILE.format(check=True)}\n"), tools, work)
    assert needs.why == "it builds machine code: src/speed.c"
    rust = "def step():\n    subprocess.run(['cargo', 'build', '--release'], check=True)\n"
    assert failure(project(tmp_path / "c", rust), tools, work).why == "it builds machine code: cargo"


def test_a_program_for_windows_is_data(tmp_path: Path, tools: dict[str, str], work: Path) -> None:
    step = "def step():\n    FILES['pkg/run.exe'] = b'MZ' + bytes(60)\n"
    assert members(build(project(tmp_path, step), tools, work)) == ["pkg/__init__.py", "pkg/run.exe"]


def test_what_can_do_without_a_compiler_is_taken(tmp_path: Path, tools: dict[str, str], work: Path) -> None:
    falls_back = f"def step():\n    {COMPILE.format(check=False)}\n"
    assert build(project(tmp_path / "a", falls_back), tools, work).name == "demo-1.0-py3-none-any.whl"
    (work / "demo-1.0-py3-none-any.whl").unlink()
    # As setuptools names what has an optional extension.
    named = project(tmp_path / "b", f'PURE = "false"\n{falls_back}', tag="cp311-cp311-linux_x86_64")
    path = build(named, tools, work)
    assert path.name == "demo-1.0-py3-none-any.whl"
    assert read_wheel(str(path), path.name).is_pure


def test_a_compiler_that_is_asked_its_version_compiles_nothing(
    tmp_path: Path, tools: dict[str, str], work: Path
) -> None:
    step = "def step():\n    subprocess.run(['cc', '--version'])\n"
    root = project(tmp_path, step, tag="cp311-cp311-linux_x86_64")
    assert "by its name it is demo-1.0-cp311-cp311-linux_x86_64.whl" in failure(root, tools, work).why


@pytest.mark.parametrize("tag", ["cp311-cp311-linux_x86_64", "cp311-none-any", "py2-none-any"])
def test_a_wheel_for_some_machines_or_pythons_is_refused(
    tmp_path: Path, tools: dict[str, str], work: Path, tag: str
) -> None:
    refused = failure(project(tmp_path, tag=tag), tools, work)
    assert refused.why == f"it is not for every machine and Python: by its name it is demo-1.0-{tag}.whl"


def test_a_failure_says_the_reason_and_no_secret(tmp_path: Path, tools: dict[str, str], work: Path) -> None:
    step = """
        def step():
            print("copying 500 files, 503 of them; connection refused")
            print("from https://me:hunter22@i.example/simple and TOKEN-55")
            print("error: subprocess-exited", file=sys.stderr)
            raise ValueError("no https://me:hunter22@i.example/version, TOKEN-55")
    """
    tools["UV_INDEX_CORP_PASSWORD"] = "TOKEN-55"
    refused = failure(project(tmp_path, step), tools, work)
    assert refused.what == "demo cannot be built to a wheel"
    assert refused.why == "ValueError: no https://***@i.example/version, ***"
    assert "copying 500 files" in refused.detail
    for text in (refused.what, refused.why, refused.fix, refused.detail):
        assert "hunter22" not in text
        assert "TOKEN-55" not in text


def test_a_backend_that_cannot_tell_its_version(tmp_path: Path, tools: dict[str, str], work: Path) -> None:
    step = "def step():\n    raise LookupError('setuptools-scm was unable to detect version for /x')\n"
    assert "SETUPTOOLS_SCM_PRETEND_VERSION=" in failure(project(tmp_path, step), tools, work).fix


def test_another_wheel_than_was_asked_for(tmp_path: Path, tools: dict[str, str], work: Path) -> None:
    root = project(tmp_path)
    assert failure(root, tools, work, name="other").why == "it is one of demo 1.0"
    assert failure(root, tools, work, version="1.1").why == "it has the version 1.0"
    assert build(root, tools, work, name="Demo", version="1.0.0").name == "demo-1.0-py3-none-any.whl"


def test_a_wheel_that_is_not_in_order(tmp_path: Path, tools: dict[str, str], work: Path) -> None:
    root = project(tmp_path, "def step():\n    FILES['../evil'] = b''\n")
    with pytest.raises(WheelError, match="cannot be used"):
        build(root, tools, work)
    assert list(work.iterdir()) == []


def test_a_path_of_this_machine_is_refused(tmp_path: Path, tools: dict[str, str], work: Path) -> None:
    where = failure(
        project(tmp_path / "a", "def step():\n    FILES['pkg/w.py'] = os.getcwd().encode()\n"), tools, work
    )
    assert "wrote the path that it was built in into pkg/w.py" in where.why
    python = "def step():\n    FILES['pkg/w.py'] = bytes(1 << 20) + sys.prefix.encode()\n"
    assert "pkg/w.py" in failure(project(tmp_path / "b", python), tools, work).why


# Where build requirements come from.


def test_a_missing_backend_offline(tmp_path: Path, uv_home: Path, work: Path) -> None:
    root = project(tmp_path)
    text = (root / "pyproject.toml").read_text().replace("requires = []", 'requires = ["hatchling"]')
    write(root, {"pyproject.toml": text})
    tools = environment(uv_home)
    with pytest.raises(OfflineError) as caught:
        build(root, tools, work, offline=True)
    assert "not in uv's cache" in caught.value.why
    assert "build once without --offline" in caught.value.fix
    refused = failure(root, {**tools, "PIP_NO_INDEX": "1"}, work)
    assert "hatchling" in refused.why


@pytest.fixture
def links(tmp_path: Path, tools: dict[str, str], work: Path) -> Path:
    """A find-links directory with a build backend "tinybuild"."""
    step = "def step():\n    FILES['tinybuild.py'] = open('body.py', 'rb').read()\n"
    own = {"tiny.py": backend(step, name="tinybuild"), "body.py": backend()}
    made = build(project(tmp_path / "tinybuild", files=own), tools, work, name="tinybuild")
    (tmp_path / "links").mkdir()
    made.rename(tmp_path / "links" / made.name)
    return tmp_path / "links"


def uses_tinybuild(folder: Path, more: str = "") -> Path:
    root = project(folder)
    text = '[project]\nname = "demo"\nversion = "1.0"\n[build-system]\nrequires = ["tinybuild"]\n'
    (root / "tiny.py").unlink()
    return write(root, {"pyproject.toml": f'{text}build-backend = "tinybuild"\n{more}'})


def test_build_requirements_come_from_where_the_environment_says(
    tmp_path: Path, tools: dict[str, str], work: Path, links: Path
) -> None:
    root = uses_tinybuild(tmp_path / "p")
    assert "tinybuild" in failure(root, tools, work).why
    assert build(root, {**tools, "PIP_FIND_LINKS": str(links)}, work).name == "demo-1.0-py3-none-any.whl"


def test_build_requirements_come_from_where_the_project_says(
    tmp_path: Path, tools: dict[str, str], work: Path, links: Path
) -> None:
    root = uses_tinybuild(
        tmp_path / "p", f'[tool.uv]\nfind-links = ["../{links.name}"]\nno-build-isolation = true\n'
    )
    build(root, tools, work).unlink()
    # A member of a workspace: the root's settings are its own.
    member = '[tool.uv.sources]\ndemo = {workspace = true}\n[tool.uv.workspace]\nmembers = ["pkgs/*"]\n'
    write(tmp_path / "w", {"pyproject.toml": f'[tool.uv]\nfind-links = ["../links"]\n{member}'})
    uses_tinybuild(tmp_path / "w" / "pkgs" / "demo")
    build(tmp_path / "w" / "pkgs" / "demo", tools, work).unlink()
    # A source archive is built with those of the project that needs it.
    own = write(tmp_path / "own", {"requirements.txt": "--find-links ../links\n./lib\n"})
    lib = uses_tinybuild(own / "lib")
    inputs = find_inputs(str(own), environment=tools)
    path = build_wheel(str(lib), name="demo", environment=tools, work=str(work), inputs=inputs)
    assert members(Path(path)) == ["pkg/__init__.py"]


def test_build_requirements_come_from_an_index_that_asks_who_we_are(
    tmp_path: Path, tools: dict[str, str], work: Path, links: Path
) -> None:
    (tmp_path / "simple").mkdir()
    links.rename(tmp_path / "simple" / "tinybuild")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://me:{PASSWORD}@127.0.0.1:{server.server_port}/simple"
    root = uses_tinybuild(tmp_path / "p")
    del tools["PIP_NO_INDEX"]
    try:
        wrong = failure(root, {**tools, "PIP_INDEX_URL": url.replace(PASSWORD, "wrong-word")}, work)
        build(root, {**tools, "PIP_INDEX_URL": url}, work)
    finally:
        server.shutdown()
        server.server_close()
    assert "UV_INDEX_NAME_USERNAME" in wrong.fix
    assert "wrong-word" not in f"{wrong.what} {wrong.why} {wrong.detail}"


def test_a_member_that_is_built_with_another_member(
    tmp_path: Path, tools: dict[str, str], work: Path
) -> None:
    root = uses_tinybuild(tmp_path / "p", "[tool.uv.sources]\ntinybuild = {workspace = true}\n")
    assert "`tinybuild` references a workspace" in failure(root, tools, work).why


def test_a_python_that_is_not_here_is_not_needed(tmp_path: Path, tools: dict[str, str], work: Path) -> None:
    build(project(tmp_path, requires_python=">=3.99"), tools, work)


def test_without_uv(tmp_path: Path, work: Path) -> None:
    with pytest.raises(ToolMissingError):
        build(project(tmp_path), {"PATH": "", "HOSTBUILD_UV": "no-such-uv"}, work)
    assert list(work.iterdir()) == []


def test_what_of_the_environment_decides() -> None:
    told = build_variables(
        "PyYAML",
        {
            "SETUPTOOLS_SCM_PRETEND_VERSION": "1.2",
            "UV_DEFAULT_INDEX": "https://me:pw@i.example/",
            "HOME": "/h",
        },
    )
    assert told == {
        "PYYAML_FORCE_LIBYAML": "0",
        "SETUPTOOLS_SCM_PRETEND_VERSION": "1.2",
        "UV_DEFAULT_INDEX": "https://i.example/",
    }
