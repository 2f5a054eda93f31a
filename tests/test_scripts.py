"""The scripts that make and CI call: what they print, and what they say where something is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.rig.handmade import write_handmade
from tests.rig.layout import read_layout

SCRIPTS = Path(__file__).parent.parent / "scripts"
SHELL = shutil.which("sh") or "/bin/sh"


def run(*argv: str | Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, argv)), env=env, capture_output=True, text=True, timeout=60, check=False
    )


def fake(directory: Path, name: str, script: str) -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_text(f"#!{SHELL}\n{script}\n")
    path.chmod(0o755)
    return path


def test_the_listing_names_every_platform_and_layer(tmp_path: Path) -> None:
    files = {"linux/amd64": {"f": b"1"}, "linux/arm/v7": {"f": b"2"}}
    write_handmade(tmp_path / "layout", "registry.example/app:v1", files, {})
    done = run(sys.executable, SCRIPTS / "show_layout.py", tmp_path / "layout", env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    layout = read_layout(tmp_path / "layout")
    assert "registry.example/app:v1" in done.stdout
    for platform, image in layout.images.items():
        assert f"{platform} " in done.stdout
        assert image.descriptor["digest"] in done.stdout
        assert f"{image.manifest['layers'][0]['size']} bytes" in done.stdout
    assert run(sys.executable, SCRIPTS / "show_layout.py", env=dict(os.environ)).returncode == 2


def test_a_python_is_found_by_name(tmp_path: Path) -> None:
    bin_directory = tmp_path / "bin"
    fake(bin_directory, "python3.14", "exit 127  # a shim whose version is not installed")
    fake(bin_directory, "python3", f'exec "{sys.executable}" "$@"')
    done = run(SHELL, SCRIPTS / "find_python", env={"PATH": str(bin_directory)})
    assert (done.returncode, done.stderr) == (0, "")
    assert os.path.isabs(done.stdout.strip())
    named = run(SHELL, SCRIPTS / "find_python", env={"PATH": "", "PYTHON": sys.executable})
    assert named.returncode == 0


def test_no_python_is_said(tmp_path: Path) -> None:
    fake(tmp_path / "bin", "python3", "exit 1  # older than 3.11")
    done = run(SHELL, SCRIPTS / "find_python", env={"PATH": str(tmp_path / "bin")})
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: no Python 3.11 or newer" in done.stderr
    assert "  fix: " in done.stderr


def test_a_python_without_venv_is_said(tmp_path: Path) -> None:
    fake(tmp_path / "bin", "python3", 'case "$2" in *ensurepip*) exit 1 ;; esac; exit 0')
    done = run(SHELL, SCRIPTS / "find_python", env={"PATH": str(tmp_path / "bin")})
    assert (done.returncode, done.stdout) == (1, "")
    assert "apt-get install python3-venv" in done.stderr


def test_missing_test_tools_are_named_and_fail(tmp_path: Path) -> None:
    for name in ("git", "umoci", "docker-registry", "unshare", "nsenter"):
        fake(tmp_path / "bin", name, "exit 0")
    fake(tmp_path / "bin", "id", "echo 1000")
    done = run(SHELL, SCRIPTS / "test_tools", env={"PATH": str(tmp_path / "bin")})
    assert done.returncode == 1
    assert "apt-get install skopeo oci-image-tool qemu-user-static\n" in done.stderr


def test_root_gets_missing_tools_installed(tmp_path: Path) -> None:
    bin_directory, log = tmp_path / "bin", tmp_path / "log"
    emulators = ("qemu-aarch64-static", "qemu-arm-static")
    for name in ("git", "umoci", "docker-registry", "oci-image-tool", *emulators, "unshare", "nsenter"):
        fake(bin_directory, name, "exit 0")
    fake(bin_directory, "id", "echo 0")
    fake(bin_directory, "apt-get", f'echo "$*" >> "{log}"')
    done = run(SHELL, SCRIPTS / "test_tools", env={"PATH": str(bin_directory)})
    assert done.returncode == 1  # this apt-get installs nothing, and that is noticed
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["update", "install"]
    assert " skopeo " in log.read_text()
