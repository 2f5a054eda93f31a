"""What the modules of this room load: a build that is up to date pays for it."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {
    "difflib",
    "hashlib",
    "ipaddress",
    "logging",
    "subprocess",
    "tempfile",
    "urllib",
    "urllib.parse",
}
WHEN_COMPOSING = {
    "hostbuild.oci.base",
    "hostbuild.oci.config",
    "hostbuild.oci.index",
    "hostbuild.oci.manifest",
}


def loaded_by(*modules: str) -> set[str]:
    names = ", ".join(modules)
    code = f"import sys; before = set(sys.modules); import {names}; print(*set(sys.modules) - before)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stdout.split())


def test_nothing_heavy_is_loaded() -> None:
    found = loaded_by("hostbuild.oci.compose", "hostbuild.oci.annotations", "hostbuild.oci.layout")
    assert "hostbuild.oci.reference" in found
    assert not found & HEAVY
    assert not found & WHEN_COMPOSING


def test_the_package_loads_nothing_of_itself() -> None:
    assert {name for name in loaded_by("hostbuild.oci") if name.startswith("hostbuild.oci.")} == set()
