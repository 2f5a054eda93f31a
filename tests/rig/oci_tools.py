"""Other people's tools, as their users start them. A missing one fails the test that asks for it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

_MINUTE = 60


def tool(name: str) -> str:
    """The path of a program that the tests need; the test fails where it is missing."""
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"{name} is not on this machine: run scripts/test_tools", pytrace=False)
    return path


def run(*argv: str | Path, cwd: Path | None = None) -> str:
    """Standard output of a tool; a failure shows all that it printed."""
    done = subprocess.run(
        [tool(str(argv[0])), *map(str, argv[1:])],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=_MINUTE,
        check=False,
    )
    shown = " ".join(map(str, argv))
    assert done.returncode == 0, f"{shown}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def skopeo_inspect_raw(layout: Path, reference: str) -> dict[str, Any]:
    """The document that skopeo finds under `reference`."""
    document: dict[str, Any] = json.loads(run("skopeo", "inspect", "--raw", f"oci:{layout}:{reference}"))
    return document


def skopeo_copy(layout: Path, reference: str, platform: str, destination: Path) -> Path:
    """Copy one platform out into a layout of its own with the name `image`."""
    os_name, architecture, variant = [*platform.split("/"), ""][:3]
    override = ["--override-os", os_name, "--override-arch", architecture]
    if variant:
        override += ["--override-variant", variant]
    policy = destination.with_name(destination.name + ".policy.json")
    policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
    run(
        "skopeo",
        "--policy",
        policy,
        *override,
        "copy",
        f"oci:{layout}:{reference}",
        f"oci:{destination}:image",
    )
    return destination


def umoci_unpack(layout: Path, bundle: Path) -> Path:
    """Unpack the image named `image`, which must be one manifest, and return its root file system."""
    run("umoci", "unpack", "--rootless", "--image", f"{layout}:image", bundle)
    return bundle / "rootfs"


def validate(layout: Path, reference: str) -> str:
    """What the image specification's own tool says of the layout."""
    return run("oci-image-tool", "validate", "--type", "image", "--ref", f"name={reference}", layout)
