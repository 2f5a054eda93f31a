"""What builders and their tools do now, seen from another process; nothing is signalled here."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from hostbuild.errors import InvalidDocumentError
from hostbuild.process import procfs
from hostbuild.process.command import tool_name
from hostbuild.process.liveness import Identity, Marked, state_of
from hostbuild.process.log import MAX_BYTES

Condition = Literal["running", "stopped", "gone", "other-namespace", "other-machine", "unknown"]

#: No system gives a process a higher number.
_MAX_PID = 1 << 31
#: Of an older log so much is read where the newer one has just begun.
_ENOUGH = 64 * 1024
#: What the command line of a worker holds.
_WORKER = "hostbuild.process.worker"
#: time, pid, build, platform, level, message: see `hostbuild.process.log`.
_LINE = re.compile(r"\S+ (\d+) (\S+) (\S+) (\w+) (.*)")
_TOOL = re.compile(r"tool: (.*?) \(pgid=([0-9]{1,10}) start_ticks=([0-9]{1,20}) ")
_KIND = re.compile(r"(?:start|done|waiting): ")
_FACTS = re.compile(r" \([a-z_]+=.*\)\Z")


def condition_of(record: Mapping[str, Any]) -> Condition:
    """How the builder of this record fares, by what it wrote of itself.

    `gone`: that process has ended. `other-namespace`: it runs in another container of this machine.
    `unknown`: the record names no process.
    """
    try:
        identity = Identity.from_json(record)
    except InvalidDocumentError:
        return "unknown"
    if identity.pid >= _MAX_PID:
        return "unknown"
    here = Identity.current()
    state = state_of(identity)
    if state == "foreign":
        return "other-namespace" if identity.boot_id == here.boot_id else "other-machine"
    if state == "dead":
        return "gone"
    found = procfs.read_stat(identity.pid)
    return "stopped" if found is not None and found.state in "Tt" else "running"


class Tool(NamedTuple):
    """A tool of a build that runs now; `seconds` since its start, None where that is not known.

    `owner` is the staging directory of its build.
    """

    name: str
    pid: int
    start_ticks: int
    seconds: float | None
    owner: str


def tools_of(marked: list[Marked], *, workers: bool = False) -> list[Tool]:
    """The tools among marked processes (`liveness.find_marked`): not what they started.

    A tool leads a session (`groups`). Where nobody leads one any more, its processes stand for it. Workers of
    hostbuild are told of only where they are asked for.
    """
    stats = {each.identity.pid: procfs.read_stat(each.identity.pid) for each in marked}
    leaders = {pid for pid, found in stats.items() if found is not None and found.session == pid}
    tools = []
    for each in marked:
        pid, ticks = each.identity.pid, each.identity.start_ticks
        found = stats[pid]
        if procfs.available() and (found is None or (pid not in leaders and found.session in leaders)):
            continue
        words = _arguments(pid)
        is_worker = any(_WORKER in word for word in words)
        if is_worker and not workers:
            continue
        name = "a worker of hostbuild" if is_worker else tool_name(words) if words else each.command
        tools.append(Tool(name, pid, ticks, seconds_of(each.identity), each.marks.owner))
    return tools


def seconds_of(identity: Identity) -> float | None:
    """For how long this process runs; None where that is not known."""
    if not identity.start_ticks:
        return None
    if not procfs.available():
        return max(0.0, time.time() - identity.start_ticks / 1000)  # see liveness: milliseconds there
    try:
        with open("/proc/uptime", encoding="ascii") as file:
            uptime = float(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return max(0.0, uptime - identity.start_ticks / os.sysconf("SC_CLK_TCK"))


def _arguments(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            data = file.read(1 << 16)
    except OSError:
        return []
    return [os.fsdecode(word) for word in data.rstrip(b"\0").split(b"\0") if data.strip(b"\0")]


class Activity(NamedTuple):
    """What the log tells of one build: its last step by platform ("" for what all share), oldest first, and
    the platforms and names of its tools by pid and start ticks.
    """

    steps: dict[str, str]
    tools: dict[tuple[int, int], tuple[str, str]]


def read_activity(path: str, pid: int, build_id: str) -> Activity:
    """What the log at `path` tells of the build `build_id` that process `pid` makes. Empty without a log."""
    steps: dict[str, str] = {}
    tools: dict[tuple[int, int], tuple[str, str]] = {}
    for line in _newest_lines(path):
        found = _LINE.match(line)
        if found is None or found[1] != str(pid) or not found[2] or not build_id.startswith(found[2]):
            continue
        platform = "" if found[3] == "-" else found[3]
        message = found[5]
        tool = _TOOL.match(message)
        if tool is not None:
            tools[int(tool[2]), int(tool[3])] = platform, tool[1]
        if found[4] == "INFO":
            steps.pop(platform, None)
            steps[platform] = _FACTS.sub("", _KIND.sub("", message, count=1))
    return Activity(steps, tools)


def _newest_lines(path: str) -> list[str]:
    data = _tail(path)
    if len(data) < _ENOUGH:
        data = _tail(f"{path}.1") + data
    return data.decode("utf-8", "replace").splitlines()


def _tail(path: str) -> bytes:
    """The last bytes of a plain file, from the beginning of a line on; nothing where it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return b""
        begin = max(0, found.st_size - MAX_BYTES)
        data = os.pread(descriptor, MAX_BYTES, begin)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
    return data[data.find(b"\n") + 1 :] if begin else data
