"""A go command for FUNC_GO that tells when it is called, and can be made to wait, to hang or to fail."""

from __future__ import annotations

import shlex
from pathlib import Path

from tests.rig.go_modules import go_command
from tests.rig.processes import Who, identity, names_in_environment, wait_until

_SCRIPT = """#!/bin/sh
here={here}
printf '%s\\n' "${{GOARCH:-host}} $*" >> "$here/calls"
case " $* " in *" build "*) ;; *) exec {go} "$@" ;; esac
if [ -e "$here/fail.$GOARCH" ]; then
    while [ ! -e "$here/pids" ]; do sleep 0.05; done
    echo "this compiler fails on purpose" >&2
    exit 1
fi
if [ -e "$here/hang" ]; then
    trap '' TERM
    sleep 600 &
    printf '%s\\n' "$$" "$!" >> "$here/pids"
    wait
fi
if [ -e "$here/pause" ]; then
    : > "$here/paused"
    while [ -e "$here/pause" ]; do sleep 0.05; done
fi
exec {go} "$@"
"""


class GoWrapper:
    """The script `path`; it lies in a directory of its own with the files that steer it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self._here = directory
        self.path = directory / "go"
        self.path.write_text(_SCRIPT.format(here=shlex.quote(str(directory)), go=shlex.quote(go_command())))
        self.path.chmod(0o755)

    @property
    def env(self) -> dict[str, str]:
        return {"FUNC_GO": str(self.path)}

    def calls(self) -> list[str]:
        """Each call since the last `forget`: the architecture and the arguments."""
        file = self._here / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def builds(self) -> list[str]:
        return [call for call in self.calls() if " build " in f"{call} "]

    def forget(self) -> None:
        (self._here / "calls").unlink(missing_ok=True)

    def pause(self) -> None:
        """The next compilation waits until `release`."""
        (self._here / "pause").touch()

    def wait_until_paused(self) -> None:
        wait_until((self._here / "paused").exists, 120, "a compilation has started")

    def release(self) -> None:
        (self._here / "pause").unlink()
        (self._here / "paused").unlink(missing_ok=True)

    def hang(self) -> None:
        """Every compilation hangs, deaf to SIGTERM, with a child of its own."""
        (self._here / "hang").touch()

    def fail(self, architecture: str) -> None:
        """The compilation for `architecture` fails once another one hangs."""
        (self._here / f"fail.{architecture}").touch()

    def heal(self) -> None:
        """Compilations are the real ones again."""
        for file in [self._here / "hang", self._here / "pids", *self._here.glob("fail.*")]:
            file.unlink(missing_ok=True)

    def wait_until_hanging(self, compilers: int = 1) -> list[Who]:
        """The hanging shells and their children, once there are `compilers` of them."""
        file = self._here / "pids"
        wait_until(
            lambda: file.exists() and file.read_text().count("\n") >= 2 * compilers, 120, "compilations hang"
        )
        return self.hanging()

    def hanging(self) -> list[Who]:
        """The hanging shells and their children that still live; never another process with a reused pid."""
        file = self._here / "pids"
        pids = [int(pid) for pid in file.read_text().split()] if file.exists() else []
        found = [identity(pid) for pid in pids if names_in_environment(pid, self._here.parent)]
        return [who for who in found if who is not None]
