"""Real registries, started by the tests: Debian's docker-registry (2.8), distribution v3, crane's.

Each has a free port that it chose itself, a directory of its own, and ends when the test does.
`Registry(kind, directory)` is a context manager; keyword arguments switch on what the kind can do (crane's is
always plain: put a fault proxy with a certificate before it for TLS).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal, Self, get_args

from tests.rig.go_tools import go_tool
from tests.rig.oci_tools import tool
from tests.rig.servers import Server
from tests.rig.tls import Authority
from tests.rig.tokens import TokenServer

Kind = Literal["docker-registry", "distribution", "crane"]
KINDS: tuple[Kind, ...] = get_args(Kind)
#: Those that follow a configuration: passwords, TLS, tokens, mirrors.
CONFIGURED_KINDS: tuple[Kind, ...] = ("docker-registry", "distribution")

USER = "tester"
PASSWORD = "right horse battery"
#: bcrypt of PASSWORD, which is the only hash that registries take; the lowest cost, for speed.
_HTPASSWD = f"{USER}:$2b$04$hostbuildtests0123456uZltiOZpcckHV9p.zqS7LiI2K7b6jo8u\n"

_LISTENING = {
    "docker-registry": r"listening on [^\s\"]*?:(\d+)",
    "distribution": r"listening on [^\s\"]*?:(\d+)",
    "crane": r"serving on port (\d+)",
}


class Registry:
    """A registry that runs. `address` is host:port, `url` has the scheme, `storage` its directory."""

    def __init__(
        self,
        kind: Kind,
        directory: Path,
        *,
        passwords: bool = False,
        tokens: TokenServer | None = None,
        tls: Authority | None = None,
        mirror_of: str = "",
        port: int = 0,
        storage: Path | None = None,
    ) -> None:
        """Start it and wait until it answers.

        `passwords` asks for USER and PASSWORD (Basic); `tokens` sends clients to that token server (Bearer);
        `tls` gives it a certificate of that authority; `mirror_of` (a URL) makes it a pull-through cache;
        `port` 0 is a free one, another serves to come back at the same place; `storage` is another
        registry's, to serve what that one has (not crane's, which keeps manifests in memory).
        """
        self.kind: Kind = kind
        directory.mkdir(parents=True, exist_ok=True)
        self.storage = storage or directory / "storage"
        self.storage.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "HOME": str(directory),
            "OTEL_TRACES_EXPORTER": "none",  # distribution v3 would look for a collector
        }
        if kind == "crane":
            assert not any((passwords, tokens, tls, mirror_of)), "crane's registry is always plain"
            address = f"127.0.0.1:{port}"
            argv: list[str | Path] = [
                go_tool("crane"),
                "registry",
                "serve",
                "--address",
                address,
                "--disk",
                self.storage,
            ]
        else:
            values = self._configuration(directory, passwords, tokens, tls, mirror_of, port)
            path = directory / "config.yml"
            path.write_text(json.dumps(values, indent=1))  # JSON is YAML
            program = tool("docker-registry") if kind == "docker-registry" else go_tool("registry")
            argv = [program, "serve", path]
        self.server = Server(argv, directory / "registry.log", environment=environment)
        self.port = int(self.server.wait_for(_LISTENING[kind]).group(1))
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"{'https' if tls else 'http'}://{self.address}"

    def _configuration(
        self,
        directory: Path,
        passwords: bool,
        tokens: TokenServer | None,
        tls: Authority | None,
        mirror_of: str,
        port: int,
    ) -> dict[str, Any]:
        values: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "info", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.storage)},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": {"addr": f"127.0.0.1:{port}", "secret": "the same in all runs"},
        }
        if passwords:
            path = directory / "htpasswd"
            path.write_text(_HTPASSWD)
            values["auth"] = {"htpasswd": {"realm": "test", "path": str(path)}}
        if tokens:
            values["auth"] = tokens.registry_auth(directory)
        if tls:
            pair = tls.issue("registry")
            values["http"]["tls"] = {"certificate": str(pair.certificate), "key": str(pair.key)}
        if mirror_of:
            values["proxy"] = {"remoteurl": mirror_of}
        return values

    def blobs(self) -> set[str]:
        """Digests of all blobs in the storage, whether or not a repository names them.

        Manifests are among them, but not those of crane's, which keeps them in memory.
        """
        if self.kind == "crane":
            found = (path for path in self.storage.glob("sha256/*") if len(path.name) == 64)
            return {f"sha256:{path.name}" for path in found}
        root = self.storage / "docker/registry/v2/blobs/sha256"
        return {f"sha256:{path.parent.name}" for path in root.glob("*/*/data")}

    def blob(self, digest: str) -> Path:
        """The file of one blob."""
        hexes = digest.partition(":")[2]
        if self.kind == "crane":
            return self.storage / "sha256" / hexes
        return self.storage / "docker/registry/v2/blobs/sha256" / hexes[:2] / hexes / "data"

    def stop(self) -> None:
        self.server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
