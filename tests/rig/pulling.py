"""Look at what a registry holds with other people's clients: crane and skopeo.

A `Puller` has credentials and trust of its own, and writes only below its directory.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.rig.go_tools import go_tool
from tests.rig.layout import blob_path
from tests.rig.oci_tools import tool

_SECONDS = 60


class Puller:
    """crane and skopeo with one login; references have the form host:port/name[:tag|@digest]."""

    def __init__(
        self, directory: Path, *, login: tuple[str, str] | None = None, ca_file: Path | None = None
    ) -> None:
        """`login` is user and password for every registry asked; without `ca_file`, plain HTTP is spoken."""
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._login = login
        self._plain = ca_file is None
        self._policy = directory / "policy.json"
        self._policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "DOCKER_CONFIG": str(directory),
            "NO_PROXY": "*",
        }
        if ca_file is not None:
            self._environment["SSL_CERT_FILE"] = str(ca_file)

    def _run(self, reference: str, *argv: str | Path) -> str:
        if self._login is not None:
            auth = base64.b64encode(":".join(self._login).encode()).decode()
            config = {"auths": {reference.partition("/")[0]: {"auth": auth}}}
            (self._directory / "config.json").write_text(json.dumps(config))
        done = subprocess.run(
            list(map(str, argv)),
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        shown = " ".join(map(str, argv))
        assert done.returncode == 0, f"{shown}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def crane(self, command: str, reference: str, *arguments: str | Path) -> str:
        """What `crane COMMAND REFERENCE …` prints."""
        insecure = ["--insecure"] if self._plain else []
        return self._run(reference, go_tool("crane"), *insecure, command, reference, *arguments)

    def validate(self, reference: str) -> None:
        """crane downloads all of it and checks each digest, size and diff ID."""
        insecure = ["--insecure"] if self._plain else []
        self._run(reference, go_tool("crane"), *insecure, "validate", "--remote", reference)

    def digest(self, reference: str) -> str:
        return self.crane("digest", reference).strip()

    def manifest(self, reference: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.crane("manifest", reference))
        return document

    def tags(self, repository: str) -> list[str]:
        return self.crane("ls", repository).split()

    def push(self, layout: Path, reference: str) -> str:
        """crane pushes the one index that the layout's index.json names; its digest.

        crane would push index.json itself, so it is given a layout whose index.json is the nested index.
        """
        (named,) = json.loads((layout / "index.json").read_bytes())["manifests"]
        with tempfile.TemporaryDirectory(dir=self._directory) as scratch:
            view = Path(scratch)
            (view / "index.json").write_bytes(blob_path(layout, named["digest"]).read_bytes())
            (view / "oci-layout").write_bytes((layout / "oci-layout").read_bytes())
            (view / "blobs").symlink_to(layout / "blobs")
            insecure = ["--insecure"] if self._plain else []
            self._run(reference, go_tool("crane"), *insecure, "push", "--index", view, reference)
        digest: str = named["digest"]
        return digest

    def skopeo(self, reference: str, destination: Path) -> Path:
        """skopeo copies all platforms into a layout with the name `image`."""
        self._run(
            reference,
            tool("skopeo"),
            "--policy",
            self._policy,
            "copy",
            "--all",
            "--preserve-digests",
            f"--src-tls-verify={str(not self._plain).lower()}",
            f"docker://{reference}",
            f"oci:{destination}:image",
        )
        return destination
