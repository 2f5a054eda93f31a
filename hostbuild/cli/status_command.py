"""`hostbuild status`: running, complete and stale builds of one source."""

from __future__ import annotations

import time
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from hostbuild.cli.directories import build_directory
from hostbuild.cli.sizes import human_size
from hostbuild.cli.streams import write_output

if TYPE_CHECKING:
    from hostbuild.store.sweeping import BuildState


def run_status(arguments: Namespace) -> int:
    """Print the builds, a line each or as JSON; 0. Raises HostbuildError."""
    states = build_directory(arguments).status()
    if arguments.json:
        import json

        write_output(json.dumps({"builds": [_object(state) for state in states]}, indent=2) + "\n")
        return 0
    if not states:
        write_output("no builds\n")
    for state in states:
        write_output(f"{_line(state)}\n")
    return 0


def _line(state: BuildState) -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(state.since))
    words = [f"{state.state:<9}", state.build_id[:12], f"{human_size(state.size):>9}", f" {since}"]
    if state.identity.get("pid"):
        words.append(f" pid {state.identity['pid']} on {state.identity.get('host', '?')}")
    if state.last:
        words.append(" (last)")
    if state.why:
        words.append(f" {state.why}")
    return " ".join(words)


def _object(state: BuildState) -> dict[str, Any]:
    return {
        "state": state.state,
        "buildId": state.build_id,
        "path": state.path,
        "size": state.size,
        "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(state.since)),
        "last": state.last,
        "why": state.why,
        "builder": dict(state.identity),
    }
