"""Run the installed command, as a user does, with a cache of its own; write source trees to build."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.rig.go_modules import go_env
from tests.rig.layout import Layout, read_layout
from tests.rig.oci_tools import tool

#: What of the caller's environment would change a build; tests say it themselves where they want it.
_FOREIGN = re.compile(
    r"(HOSTBUILD|FUNC|GIT)_.*|SOURCE_DATE_EPOCH|PYTHON(PATH|HOME|WARNINGS)|GOFLAGS|CI|NO_COLOR|COLUMNS"
)
_RESULT_LINE = re.compile(r"[a-z0-9][a-z0-9._:/-]*@sha256:[0-9a-f]{64}\n")
_BUILD_SECONDS = 300


def private_mounts() -> tuple[str, ...]:
    """A prefix that runs a command, in place, in a mount namespace of its own.

    hostbuild ends what it takes for the tools of dead builders, wherever on the machine they were started,
    but judges no process of another mount namespace. So no test's command touches what it did not start:
    not the processes of other tests, which run at the same time, and nobody else's on the machine.
    """
    user = () if os.geteuid() == 0 else ("--user", "--map-current-user")
    return (tool("unshare"), *user, "--mount", "--")


@dataclass(frozen=True)
class Result:
    """What one command gave."""

    code: int
    stdout: str
    stderr: str

    @property
    def reference(self) -> str:
        """The line of a successful build: exactly one on standard output, `NAME@sha256:…`."""
        assert self.code == 0, f"exit code {self.code}\n{self.stderr}"
        assert _RESULT_LINE.fullmatch(self.stdout), f"standard output is {self.stdout!r}"
        return self.stdout.strip()

    @property
    def digest(self) -> str:
        return self.reference.partition("@")[2]

    def fails(self, code: int, *texts: str) -> None:
        """The command failed as the contract says: code, no result line, `error: …`, no traceback."""
        assert self.code == code, f"exit code {self.code}, not {code}\n{self.stderr}"
        assert self.stdout == ""
        assert re.search(r"^error: \S", self.stderr, re.MULTILINE), self.stderr
        assert "Traceback" not in self.stderr, self.stderr
        for text in texts:
            assert text in self.stderr, f"{text!r} is not in:\n{self.stderr}"


@dataclass
class Hostbuild:
    """`hostbuild(...)` runs `python -m hostbuild ...`; one cache directory for all calls of one test."""

    home: Path
    env: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = field(default_factory=private_mounts)
    python: str = sys.executable

    def beside(self, pid: int) -> Hostbuild:
        """The same command in the mount namespace of `pid`, whose processes it therefore judges."""
        user = () if os.geteuid() == 0 else ("--user", "--preserve-credentials")
        return replace(self, prefix=(tool("nsenter"), "--target", str(pid), *user, "--mount", "--"))

    @property
    def cache(self) -> Path:
        return self.home / "cache"

    def environment(self, env: Mapping[str, str | None] | None = None) -> dict[str, str]:
        """The command's environment; None takes a name out."""
        result = {name: value for name, value in os.environ.items() if not _FOREIGN.fullmatch(name)}
        result |= {
            "GOCACHE": go_env("GOCACHE"),
            "GOMODCACHE": go_env("GOMODCACHE"),
            "GOPROXY": go_env("GOPROXY"),
        }
        result |= {"HOSTBUILD_CACHE_DIR": str(self.cache), "PYTHONDONTWRITEBYTECODE": "1"}
        result |= self.env
        for name, value in (env or {}).items():
            if value is None:
                result.pop(name, None)
            else:
                result[name] = value
        return result

    def _argv(self, arguments: tuple[str | Path, ...]) -> list[str]:
        return [*self.prefix, self.python, "-m", "hostbuild", *map(str, arguments)]

    def __call__(
        self,
        *arguments: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str | None] | None = None,
        stdin: str | None = None,
        umask: int = -1,
        timeout: float = _BUILD_SECONDS,
    ) -> Result:
        """Run to the end. The working directory is never the checkout, so that the installed package runs."""
        done = subprocess.run(
            self._argv(arguments),
            cwd=cwd or self.home,
            env=self.environment(env),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            umask=umask,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def start(
        self, *arguments: str | Path, cwd: Path | None = None, env: Mapping[str, str | None] | None = None
    ) -> subprocess.Popen[str]:
        """Start without waiting, in a process group of its own, as a shell with job control does."""
        return subprocess.Popen(
            self._argv(arguments),
            cwd=cwd or self.home,
            env=self.environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    def build(
        self, root: Path, *arguments: str | Path, env: Mapping[str, str | None] | None = None
    ) -> Layout:
        """Build, which must succeed, and read the layout; line and layout must name the same index."""
        result = self("build", root, *arguments, env=env)
        reference = result.reference
        layout = read_layout(root / ".func/builds/last/oci")
        assert reference.endswith("@" + layout.digest)
        return layout


def make_source(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write a tree: `name: text`; a value starting with `-> ` is a symbolic link; `name/` is a directory."""
    root.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content.startswith("-> "):
            path.symlink_to(content.removeprefix("-> "))
        else:
            path.write_text(content)
    return root
