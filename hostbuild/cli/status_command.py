"""`hostbuild status`: running, complete and stale builds, and what the running ones do now."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from hostbuild.cli.directories import Skipped, build_directories, plain
from hostbuild.cli.sizes import human_size
from hostbuild.cli.streams import write_output
from hostbuild.errors import StoreError
from hostbuild.housekeeping import is_free, ran_here
from hostbuild.process.liveness import find_marked, find_orphans
from hostbuild.process.watching import Condition, Tool, condition_of, read_activity, tools_of
from hostbuild.store.report import duration
from hostbuild.store.states import host_of, pid_of

if TYPE_CHECKING:
    from argparse import Namespace

    from hostbuild.store.builds import BuildDir
    from hostbuild.store.states import BuildState

#: What is said of a builder whose lock is held.
_OF_RUNNING: dict[Condition, str] = {
    "stopped": "stopped (by a signal, or Ctrl-Z)",
    "gone": "that process has ended, another one holds its lock",
    "other-namespace": "in another pid namespace (a container)",
    "other-machine": "on another machine",
    "unknown": "its record names no process",
}


class Doing(NamedTuple):
    """What a running build does for one platform ("" for what all share): its newest step, its tools."""

    platform: str
    step: str
    tools: list[Tool]


class Shown(NamedTuple):
    """One build with what was found out about its builder. `user` is "" for this one."""

    directory: str
    state: BuildState
    condition: Condition | None
    user: str
    doing: list[Doing]


def run_status(arguments: Namespace) -> int:
    """Print the builds, some lines each or as JSON; 0. Raises HostbuildError."""
    directories, skipped = build_directories(arguments)
    tools = tools_of(find_marked())
    shown: dict[str, list[Shown]] = {}
    for builds in directories:
        try:
            shown[builds.places.root] = [_look(builds, state, tools) for state in builds.status()]
        except StoreError as error:
            if not arguments.under:
                raise
            skipped.append(Skipped(builds.places.root, str(error)))
    orphans = tools_of(find_orphans(is_free), workers=True)
    if arguments.json:
        import json

        write_output(json.dumps(_document(shown, orphans, skipped), indent=2) + "\n")
        return 0
    lines = _lines(shown, orphans, skipped, headings=bool(arguments.under))
    write_output("".join(f"{line}\n" for line in lines))
    return 0


def _look(builds: BuildDir, state: BuildState, tools: list[Tool]) -> Shown:
    """What can be found out about the builder of one build; of complete ones nothing is asked."""
    if state.state not in {"running", "stale"}:
        return Shown(builds.places.root, state, None, "", [])
    condition = condition_of(state.identity)
    doing = _doing(builds, state, tools) if state.state == "running" else []
    return Shown(builds.places.root, state, condition, _user_of(state.path), doing)


def _doing(builds: BuildDir, state: BuildState, tools: list[Tool]) -> list[Doing]:
    activity = read_activity(builds.log, pid_of(state.identity), state.build_id)
    mine: list[Tool] = []
    platforms: dict[int, str] = {}
    for tool in tools:
        if tool.owner == state.path:
            # The log knows the name of a tool that is a script; its process has the interpreter's.
            process = (tool.pid, tool.start_ticks)
            platforms[tool.pid], name = activity.tools.get(process, ("", tool.name))
            mine.append(tool._replace(name=name))
    names = [name for name in activity.steps if name]
    newest = next(reversed(activity.steps), "")
    if not newest or "" in platforms.values():  # else the platforms' own steps are newer
        names.append("")
    names += sorted(set(platforms.values()) - set(names))
    found = [
        Doing(name, activity.steps.get(name, ""), [tool for tool in mine if platforms[tool.pid] == name])
        for name in names
    ]
    found = [each for each in found if each.step or each.tools]
    if found:
        known = {each.platform for each in found}
        asked = state.identity.get("platforms")
        later = [name for name in asked if isinstance(name, str)] if isinstance(asked, list) else []
        found += [Doing(name, "not begun", []) for name in later if name not in known]
    return found


def _user_of(path: str) -> str:
    """The name of the user to whom it belongs, "" for this one, or when it is gone."""
    try:
        uid = os.lstat(path).st_uid
    except OSError:
        return ""
    if uid == os.geteuid():
        return ""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _lines(
    shown: dict[str, list[Shown]], orphans: list[Tool], skipped: list[Skipped], *, headings: bool
) -> Iterator[str]:
    for directory, builds in shown.items():
        if headings:
            yield f"{plain(directory)}:"
        indent = "  " if headings else ""
        for each in builds:
            for line in _build_lines(each):
                yield indent + line
        if not builds:
            yield f"{indent}no builds"
    if headings and not shown:
        yield "no build directories"
    for tool in orphans:
        yield f"orphan    {_tool(tool)}, left by a killed build in {plain(tool.owner)}"
    for skip in skipped:
        yield f"skipped {plain(skip.path)}: {plain(skip.why)}"


def _build_lines(shown: Shown) -> Iterator[str]:
    state = shown.state
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(state.since))
    words = [
        f"{state.state:<9}",
        state.build_id[:12] or "unknown",
        f"{human_size(state.size):>9}",
        f" {since}",
    ]
    if shown.condition is not None:
        words.append(f" {_builder(shown)}")
    if state.last:
        words.append(" (last)")
    if state.why:
        words.append(f" {plain(state.why)}")
    yield " ".join(words)
    for doing in shown.doing:
        parts = [plain(doing.step)] if doing.step else []
        parts += [_tool(tool) for tool in doing.tools]
        yield f"          {plain(doing.platform) or 'all platforms'}: {'; '.join(parts)}"


def _builder(shown: Shown) -> str:
    state, identity = shown.state, shown.state.identity
    words = [f"pid {pid_of(identity) or 'unknown'} on {host_of(identity)}"]
    if shown.user:
        words.append(f"user {plain(shown.user)}")
    if state.state == "running":
        words.append(f"for {duration(time.time() - state.since)}")
        if condition := _OF_RUNNING.get(shown.condition or "running"):
            words.append(condition)
    elif ran_here(identity) is None and identity:
        words.append("made on another machine: whether it still runs cannot be told from here")
    else:
        words.append("its builder ended")
    return ", ".join(words)


def _tool(tool: Tool) -> str:
    lasting = "" if tool.seconds is None else f", {duration(tool.seconds)}"
    return f"{plain(tool.name)} (pid {tool.pid}{lasting})"


def _document(shown: dict[str, list[Shown]], orphans: list[Tool], skipped: list[Skipped]) -> dict[str, Any]:
    return {
        "directories": list(shown),
        "builds": [_object(each) for builds in shown.values() for each in builds],
        "orphans": [{**_tool_object(tool), "owner": tool.owner} for tool in orphans],
        "skipped": [skip._asdict() for skip in skipped],
    }


def _object(shown: Shown) -> dict[str, Any]:
    state = shown.state
    document: dict[str, Any] = {
        "directory": shown.directory,
        "state": state.state,
        "buildId": state.build_id,
        "path": state.path,
        "size": state.size,
        "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(state.since)),
        "last": state.last,
        "why": state.why,
        "builder": dict(state.identity),
    }
    if shown.condition is not None:
        document["condition"] = shown.condition
        document["user"] = shown.user
    if state.state == "running":
        document["seconds"] = max(0, round(time.time() - state.since))
        document["doing"] = [
            {
                "platform": doing.platform,
                "step": doing.step,
                "tools": [_tool_object(tool) for tool in doing.tools],
            }
            for doing in shown.doing
        ]
    return document


def _tool_object(tool: Tool) -> dict[str, Any]:
    seconds = None if tool.seconds is None else round(tool.seconds)
    return {"command": tool.name, "pid": tool.pid, "seconds": seconds}
