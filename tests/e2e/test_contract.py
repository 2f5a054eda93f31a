"""What users and other tools rely on: streams, exit codes, names, flags, outputs, the library."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hostbuild.version import VERSION
from tests.rig.builder import Hostbuild, make_source
from tests.rig.layout import read_layout
from tests.rig.sources import HELLO

ONE = ("--platform", "linux/amd64")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_source(tmp_path / "hello", HELLO)


def test_version_and_help(hostbuild: Hostbuild) -> None:
    assert hostbuild("--version").stdout == f"hostbuild {VERSION}\n"
    for arguments in (("--help",), ("build", "--help"), ("status", "--help"), ("clean", "--help")):
        result = hostbuild(*arguments)
        assert (result.code, result.stderr) == (0, "")
        assert "hostbuild" in result.stdout


@pytest.mark.parametrize("quiet", [("-q",), ("--progress", "quiet")])
def test_quiet_says_nothing_but_the_result(hostbuild: Hostbuild, root: Path, quiet: tuple[str, ...]) -> None:
    result = hostbuild("build", root, *ONE, *quiet)
    assert result.reference.startswith("hello@sha256:")
    assert result.stderr == ""


def test_verbose_shows_files_and_plain_does_not(hostbuild: Hostbuild, root: Path) -> None:
    plain = hostbuild("build", root, *ONE, "--ship-source", "--progress", "plain")
    verbose = hostbuild("build", root, *ONE, "--ship-source", "-v", "--no-cache")
    assert plain.reference == verbose.reference
    assert "func/main.go" in verbose.stderr
    assert "func/main.go" not in plain.stderr
    assert "\x1b" not in plain.stderr + verbose.stderr
    assert (root / ".func/builds/hostbuild.log").stat().st_size > 0


@pytest.mark.parametrize(
    ("tags", "line", "name"),
    [
        ((), "hello", "docker.io/library/hello:latest"),
        (("nginx:1.2", "other:v1"), "nginx", "docker.io/library/nginx:1.2"),
        (("registry.example:5000/a/b",), "registry.example:5000/a/b", "registry.example:5000/a/b:latest"),
    ],
)
def test_the_first_tag_names_the_image(
    hostbuild: Hostbuild, root: Path, tags: tuple[str, ...], line: str, name: str
) -> None:
    result = hostbuild("build", root, *ONE, *[word for tag in tags for word in ("-t", tag)])
    assert result.reference.startswith(f"{line}@sha256:")
    assert read_layout(root / ".func/builds/last/oci").reference == name


def test_the_configs_flags(hostbuild: Hostbuild, root: Path) -> None:
    layout = hostbuild.build(
        root,
        *ONE,
        *("-e", "A=1", "-e", "A=2", "--env", "FROM_HERE", "--label", "who=me"),
        *("--entrypoint", '["/app/hello", "x"]', "--cmd", "one two", "--user", "7:8"),
        *("--port", "9000,53/udp", "--annotation", "plain=p", "--annotation", "index:outer=o"),
        env={"FROM_HERE": "here"},
    )
    image = layout.images["linux/amd64"]
    config = image.config["config"]
    assert (image.env["A"], image.env["FROM_HERE"]) == ("2", "here")
    assert config["Labels"]["who"] == "me"
    assert (config["Entrypoint"], config["Cmd"]) == (["/app/hello", "x"], ["one", "two"])
    assert config["User"] == "7:8"
    assert config["ExposedPorts"] == {"9000/tcp": {}, "53/udp": {}}
    assert image.manifest["annotations"]["plain"] == "p"
    assert layout.index["annotations"]["outer"] == "o"


def test_the_users_environment_wins(hostbuild: Hostbuild, tmp_path: Path) -> None:
    func_yaml = """specVersion: 0.36.0
name: hello
runtime: go
run:
  volumes:
  - path: /data
  envs:
  - name: LISTEN_ADDRESS
    value: 0.0.0.0:9999
  - name: FROM_ENV
    value: "{{ env:WHO }}"
  - name: SECRET
    value: "{{ secret:mysecret:key }}"
  - value: "{{ configMap:mymap }}"
"""
    files = {
        "go.mod": "module f\n\ngo 1.21\n",
        "func.yaml": func_yaml,
        "f.go": 'package f\n\nimport "net/http"\n\nfunc Handle(w http.ResponseWriter, r *http.Request) {}\n',
    }
    layout = hostbuild.build(make_source(tmp_path / "src", files), *ONE, env={"WHO": "me"})
    image = layout.images["linux/amd64"]
    assert image.env["LISTEN_ADDRESS"] == "0.0.0.0:9999"
    assert image.env["FROM_ENV"] == "me"
    assert "SECRET" not in image.env
    assert "mysecret" not in json.dumps(image.config)
    assert "mymap" not in json.dumps(image.config)
    assert image.config["config"]["Volumes"] == {"/data": {}}


def test_settings_flag_variable_file(hostbuild: Hostbuild, root: Path) -> None:
    make_source(
        root, {"hostbuild.toml": 'platform = ["linux/arm64"]\nuser = "1"\n\n[label]\nfrom = "file"\n'}
    )
    from_file = hostbuild.build(root)
    assert set(from_file.images) == {"linux/arm64"}
    env = {"HOSTBUILD_PLATFORM": "linux/amd64", "HOSTBUILD_USER": "2"}
    image = hostbuild.build(root, "--user", "3", env=env).images["linux/amd64"]
    assert image.config["config"]["User"] == "3"
    assert image.config["config"]["Labels"]["from"] == "file"
    assert hostbuild.build(root, env=env).images["linux/amd64"].config["config"]["User"] == "2"


def test_an_output_directory_is_whole_and_replaced(hostbuild: Hostbuild, root: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    output = f"type=oci,tar=false,dest={out}"
    first = hostbuild("build", root, *ONE, "-o", output).digest
    assert read_layout(out).digest == first
    second = hostbuild("build", root, "--platform", "linux/arm64", "-o", output).digest
    assert read_layout(out).digest == second != first
    inodes = {path.stat().st_ino for path in (root / ".func").rglob("*") if path.is_file()}
    assert not inodes & {path.stat().st_ino for path in out.rglob("*") if path.is_file()}
    (out.parent / "precious").mkdir()
    (out.parent / "precious/file").write_text("x")
    refused = hostbuild("build", root, *ONE, "-o", f"type=oci,tar=false,dest={out.parent / 'precious'}")
    refused.fails(refused.code, "precious")
    assert refused.code in (1, 2)
    assert (out.parent / "precious/file").read_text() == "x"
    assert {path.name for path in out.parent.iterdir()} == {"out", "precious"}


def test_build_and_cache_directories_can_be_elsewhere(
    hostbuild: Hostbuild, root: Path, tmp_path: Path
) -> None:
    places = ("--build-dir", str(tmp_path / "builds"), "--cache-dir", str(tmp_path / "blobs"))
    result = hostbuild("build", root, *ONE, *places)
    assert read_layout(tmp_path / "builds/builds/last/oci").digest == result.digest
    assert (tmp_path / "blobs").is_dir()
    assert {path.name for path in root.iterdir()} == set(HELLO)
    assert not hostbuild.cache.exists()


def test_status_and_clean(hostbuild: Hostbuild, root: Path) -> None:
    assert hostbuild("status", root).code == 0
    assert {path.name for path in root.iterdir()} == set(HELLO)  # looking makes nothing
    digest = hostbuild("build", root, *ONE).digest
    (build,) = (root / ".func/builds/by-hash").iterdir()
    status = hostbuild("status", root)
    assert build.name[:12] in status.stdout
    document = json.loads(hostbuild("status", root, "--json").stdout)
    assert build.name in json.dumps(document)
    assert hostbuild("clean", root).code == 0
    assert read_layout(root / ".func/builds/last/oci").digest == digest
    record = json.loads((build / "build.json").read_text())
    assert digest in json.dumps(record)


@pytest.mark.parametrize(
    "stamp", [("--stamp",), ("--no-stamp",), ()], ids=["stamped", "not stamped", "as a program is"]
)
def test_stamps(hostbuild: Hostbuild, root: Path, stamp: tuple[str, ...]) -> None:
    env = hostbuild.build(root, *ONE, *stamp, env={"SOURCE_DATE_EPOCH": "0"}).images["linux/amd64"].env
    assert ("FUNC_CREATED" in env) is (stamp == ("--stamp",))


def test_the_library_builds_twice_in_an_unguarded_script(hostbuild: Hostbuild, root: Path) -> None:
    script = """
import sys, pathlib, hostbuild
root = pathlib.Path(sys.argv[1])
events = []
for word in ("one", "two", "two"):
    main = f'package main\\n\\nfunc main() {{ println("{word}") }}\\n'
    (root / "main.go").write_text(main)
    request = hostbuild.load_request(root, {"platform": ("linux/amd64", "linux/arm64")})
    result = hostbuild.build(request, on_event=events.append)
    assert len(result.platforms) == 2 and result.reference.endswith("@" + result.index_digest)
    print(result.index_digest, result.status)
assert events and {"linux/amd64", "linux/arm64"} <= {event.platform for event in events}
assert hostbuild.is_supported("go") and not hostbuild.is_supported("cobol")
"""
    path = make_source(hostbuild.home, {"script.py": script}) / "script.py"
    done = subprocess.run(
        [sys.executable, path, root],
        cwd=hostbuild.home,
        env=hostbuild.environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [status for _, status in lines] == ["built", "built", "up-to-date"]
    assert lines[0][0] != lines[1][0] == lines[2][0] == read_layout(root / ".func/builds/last/oci").digest
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", lines[0][0])
