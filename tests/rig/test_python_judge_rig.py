"""The judge of Python images sees what differs, and overlooks what installers may do in their own way."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from tests.rig.layout import Image, Member
from tests.rig.namespaces import run_inside
from tests.rig.python_base import PLATFORMS, python_base
from tests.rig.python_image import SITE, check_records, once, versions
from tests.rig.python_judge import Installed, installed, installed_in, pip_settings

METADATA = b"Metadata-Version: 2.1\nName: Demo.Thing\nVersion: 1.0\n\nName: other\n"
PIPS = b"""#!/usr/bin/python3
import sys
from demo.cli import main
if __name__ == '__main__':
    sys.argv[0] = sys.argv[0].removesuffix('.exe')
    sys.exit(main())
"""
OURS = b"""#!/opt/venv/bin/python3
import sys

from demo.cli import main

if __name__ == "__main__":
    sys.exit(main())
"""

SCRIPT = """#!/usr/bin/python3
import os
print(os.getuid(), os.path.exists("/dev/null"))
"""


def one(path: str, data: bytes, mode: int = 0o644) -> Installed:
    return installed({path: (data, mode)})


def image(files: dict[str, bytes]) -> Image:
    members = tuple(Member(path, "file", 0o644, 0, 0, 0, "", data, ("", "")) for path, data in files.items())
    return Image("linux/amd64", {}, {}, {}, (members,))


def row(path: str, data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
    return f"{path},sha256={digest},{len(data)}\n"


def test_names_are_compared_as_projects_are() -> None:
    assert versions({"demo-1.0.dist-info/METADATA": METADATA, "x/METADATA": b""}) == {"demo-thing": "1.0"}
    with pytest.raises(AssertionError, match="twice"):
        versions({"demo-1.0.dist-info/METADATA": METADATA, "demo-2.dist-info/METADATA": METADATA})


def test_what_installers_write_for_themselves_is_overlooked() -> None:
    own = ("INSTALLER", "RECORD", "REQUESTED", "direct_url.json")
    files = {f"demo-1.0.dist-info/{name}": (b"x", 0o644) for name in own}
    files |= {"demo/__pycache__/a.cpython-311.pyc": (b"x", 0o644)}
    assert installed(files).files == {}


@pytest.mark.parametrize(
    ("path", "mine", "theirs"),
    [
        ("demo/a.py", (b"a", 0o644), (b"b", 0o644)),
        ("demo/a.py", (b"a", 0o644), (b"a", 0o755)),
        ("demo-1.0.dist-info/WHEEL", (b"a", 0o644), (b"b", 0o644)),
        ("demo/RECORD", (b"a", 0o644), (b"b", 0o644)),
        ("bin/demo", (OURS, 0o755), (OURS.replace(b"import main", b"import other"), 0o755)),
        ("bin/demo", (OURS, 0o755), (OURS + b"more()\n", 0o755)),
        ("bin/demo", (b"#!/bin/sh\na\n", 0o755), (b"#!/bin/sh\nb\n", 0o755)),
        ("bin/demo", (b"\x7fELFa", 0o755), (b"\x7fELFb", 0o755)),
    ],
)
def test_what_differs_is_seen(path: str, mine: tuple[bytes, int], theirs: tuple[bytes, int]) -> None:
    assert one(path, *mine) == one(path, *mine)
    assert one(path, *mine) != one(path, *theirs)


def test_commands_are_compared_by_what_they_start() -> None:
    assert one("bin/demo", PIPS, 0o755) == one("bin/demo", OURS, 0o755)
    assert one("bin/demo", PIPS, 0o755).files == {"bin/demo": "starts demo.cli:main, executable"}
    assert one("bin/a.py", b"#!python\nx\n", 0o755) == one("bin/a.py", b"#!/usr/bin/python3\nx\n", 0o755)


def test_an_image_is_seen_as_pip_would_lay_it_out() -> None:
    files = {
        f"{SITE}/demo/a.py": b"a",
        "opt/python/bin/demo": b"#!/x\nb\n",
        "opt/python/share/demo/c": b"c",
        "opt/python/service/main.py": b"",
        "func/a.py": b"",
    }
    assert set(installed_in(image(files)).files) == {"demo/a.py", "bin/demo", "share/demo/c"}


def test_records_must_be_right_and_complete() -> None:
    record = f"{SITE}/demo-1.0.dist-info/RECORD"
    files = {f"{SITE}/demo/a.py": b"a", "opt/python/bin/demo": b"b"}
    rows = row("demo/a.py", b"a") + row("../bin/demo", b"b") + "demo-1.0.dist-info/RECORD,,\n"
    check_records(image({**files, record: rows.encode()}))
    for wrong in (
        {**files, record: rows.replace("../bin/demo", "demo/a.py").encode()},
        {**files, record: rows.encode(), f"{SITE}/stray.py": b""},
        {f"{SITE}/demo/a.py": b"a", record: rows.encode()},
        {**files, f"{SITE}/demo/a.py": b"b", record: rows.encode()},
    ):
        with pytest.raises(AssertionError):
            check_records(image(wrong))


def test_it_is_made_once_and_half_of_it_is_none(tmp_path: Path) -> None:
    made = []

    def make(directory: Path) -> None:
        made.append(directory)
        (directory / "part").touch()
        assert len(made) > 1, "the first one fails"

    with pytest.raises(AssertionError, match="the first one fails"):
        once(tmp_path / "thing", make)
    for _ in range(2):
        assert once(tmp_path / "thing", make) == tmp_path / "thing"
    assert len(made) == 2


def test_pips_settings_are_variables() -> None:
    assert all(name.startswith("PIP_") and name == name.upper() for name in pip_settings())


@pytest.mark.parametrize("platform", PLATFORMS)
def test_what_a_program_starts_runs_in_there_as_well(platform: str, tmp_path: Path) -> None:
    root = python_base().copy_root(platform, tmp_path / "root")
    (root / "script").write_text(SCRIPT)
    (root / "script").chmod(0o755)
    before = Path("/proc/sys/fs/binfmt_misc")
    seen = sorted(before.iterdir())
    architecture = platform.split("/")[1]
    argv = ("/bin/sh", "-c", "exec /script $0 $A")
    assert run_inside(root, architecture, argv, env={"A": "b"}, user=1000) == (0, "1000 True\n")
    assert sorted(before.iterdir()) == seen
    assert sorted((root / "dev").iterdir()) == []
