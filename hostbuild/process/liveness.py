"""Who a process is, whether it still lives, and which processes a dead build left behind.

A pid alone says little: it is reused, and it means nothing in another pid namespace or on another machine. A
process is named by its pid and the ticks at which it started, within one boot of one machine and one
pid namespace.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Literal

from hostbuild.errors import InvalidDocumentError
from hostbuild.process import procfs
from hostbuild.process.marks import OWNER, Marks
from hostbuild.records import asdict, field, record, replace

if TYPE_CHECKING:
    import psutil

State = Literal["alive", "dead", "foreign"]

#: The inode of a machine's first pid namespace (PROC_PID_INIT_INO in the kernel's proc_ns.h).
_FIRST_NAMESPACE = 0xEFFFFFFC
#: Seconds to wait for the end of what was sent KILL.
_KILL_WAIT = 1.0
#: How often to look again for what was forked while others were ended.
_ROUNDS = 3


@record
class Identity:
    """One process, for good: no other process ever has the same identity.

    `start_ticks` is field 22 of /proc/PID/stat, 0 where it is not known; `boot_id` is the kernel's word for
    this boot; `pid_namespace` its inode, 0 where there are none; `host` the host name.
    """

    pid: int
    start_ticks: int
    boot_id: str
    pid_namespace: int
    host: str

    @classmethod
    def current(cls) -> Identity:
        """The identity of this process."""
        return cls.of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> Identity:
        """The process that has this pid now, in this pid namespace; `start_ticks` is 0 where it has ended."""
        boot_id, namespace, host = _here()
        return cls(pid, _start_ticks(pid), boot_id, namespace, host)

    def to_json(self) -> dict[str, Any]:
        """A JSON object with the field names as keys."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Identity:
        """What `to_json` gave, further keys ignored. Raises InvalidDocumentError where it is not that."""
        kinds = {"pid": int, "start_ticks": int, "boot_id": str, "pid_namespace": int, "host": str}
        values: dict[str, Any] = {}
        for name, kind in kinds.items():
            value = record.get(name)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise InvalidDocumentError(
                    f"a process's {name} cannot be {value!r}", why=f"it is {kind.__name__}"
                )
            values[name] = value
        if values["pid"] <= 0:
            raise InvalidDocumentError(f"a process's pid cannot be {values['pid']}")
        return cls(**values)


def state_of(identity: Identity) -> State:
    """Whether the process lives. `foreign` where this process cannot know: another machine or pid namespace.

    A zombie is dead, a reused pid is dead, a process that may not be signalled is alive.
    """
    boot_id, namespace, host = _here()
    if identity.boot_id != boot_id:
        # The same machine after a reboot, or another one that has the same name: containers often do.
        rebooted = identity.host == host and identity.pid_namespace == namespace in (0, _FIRST_NAMESPACE)
        return "dead" if rebooted else "foreign"
    if identity.pid_namespace != namespace:
        return "foreign"
    if procfs.available():
        return "alive" if _alive_by_proc(identity) else "dead"
    return "alive" if _alive_by_psutil(identity) else "dead"


def _alive_by_proc(identity: Identity) -> bool:
    stat = procfs.read_stat(identity.pid)
    if stat is None:  # gone, or hidden by the mount option hidepid
        return _may_exist(identity.pid)
    return not stat.ended and (not identity.start_ticks or stat.start_ticks == identity.start_ticks)


def _alive_by_psutil(identity: Identity) -> bool:
    import psutil

    try:
        ended = psutil.Process(identity.pid).status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
    return not ended and _start_ticks(identity.pid) in (identity.start_ticks, 0)


def _may_exist(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _here() -> tuple[str, int, str]:
    """Boot id, pid namespace and host name of this process."""
    host = os.uname().nodename
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot_id = file.read().strip()
        return boot_id, os.stat("/proc/self/ns/pid").st_ino, host
    except OSError:
        import psutil

        return f"boot-{psutil.boot_time():.0f}", 0, host


def _start_ticks(pid: int) -> int:
    if procfs.available():
        stat = procfs.read_stat(pid)
        return stat.start_ticks if stat else 0
    import psutil

    with suppress(psutil.Error):
        return int(psutil.Process(pid).create_time() * 1000)
    return 0


@record
class Marked:
    """A process that carries marks of a build in its environment; `command` is its name, for people."""

    identity: Identity
    marks: Marks
    command: str = field(compare=False)


def find_marked(wanted: Marks | None = None) -> list[Marked]:
    """The processes of this user that carry all the marks set in `wanted`; without it, any owner's mark.

    Never this process or one of its ancestors, and none of another pid or mount namespace, whose owner's
    path would mean something else here.
    """
    import psutil

    own = {os.getpid(), *_ancestors(psutil.Process())}
    user = os.getuid()
    namespaces = _namespaces("self")
    found = []
    for process in psutil.process_iter():
        if process.pid in own:
            continue
        with suppress(psutil.Error, OSError):
            if process.uids().real != user:
                continue
            identity = Identity.of(process.pid)
            environment = process.environ()
            marked = wanted.carried_by(environment) if wanted else bool(environment.get(OWNER))
            # The identity was read first: were the pid reused since, it would not be alive now.
            if marked and _namespaces(process.pid) == namespaces and state_of(identity) == "alive":
                found.append(Marked(identity, Marks.of(environment), process.name()))
    return found


def builder_mark() -> str:
    """The value of the mark that names this process as the builder; `find_orphans` reads it."""
    me = Identity.current()
    return f"{me.pid}:{me.start_ticks}"


def _builder_lives(mark: str) -> bool:
    pid, _, ticks = mark.partition(":")
    if not (pid.isdecimal() and ticks.isdecimal() and int(pid)):
        return False
    return state_of(replace(Identity.current(), pid=int(pid), start_ticks=int(ticks))) == "alive"


def find_orphans(is_free: Callable[[str], bool]) -> list[Marked]:
    """The marked processes whose builder is dead.

    `is_free(owner)` tells whether nobody holds the lock of the staging directory `owner`; that lock, which
    the kernel frees, is the truth about a builder's life. But the directory may be removed under a living
    builder, lock and all: so a process whose builder's identity lives is no orphan either.
    """
    answers: dict[str, bool] = {}
    orphans = []
    for marked in find_marked():
        owner = marked.marks.owner
        if owner not in answers:
            answers[owner] = is_free(owner)
        if answers[owner] and not _builder_lives(marked.marks.builder):
            orphans.append(marked)
    return orphans


def end_marked(wanted: Marks, *, grace: float = 2.0) -> list[Marked]:
    """End all processes that `find_marked` finds, also what they fork meanwhile; returns the ended ones."""
    return _end_all(lambda: find_marked(wanted), grace)


def end_orphans(is_free: Callable[[str], bool], *, grace: float = 2.0) -> list[Marked]:
    """End all processes that `find_orphans` finds, also what they fork meanwhile; returns the ended ones."""
    return _end_all(lambda: find_orphans(is_free), grace)


def _end_all(find: Callable[[], list[Marked]], grace: float) -> list[Marked]:
    ended: list[Marked] = []
    for _ in range(_ROUNDS):
        found = find()
        if not found:
            break
        identities = end_processes([marked.identity for marked in found], grace=grace)
        ended += [marked for marked in found if marked.identity in identities]
    return ended


def _ancestors(process: psutil.Process) -> Iterable[int]:
    if procfs.available():
        return procfs.ancestors(process.pid)
    return [parent.pid for parent in process.parents()]


def _namespaces(pid: int | str) -> tuple[int, ...]:
    """The inodes of the pid and mount namespaces; empty where the system has none."""
    if not os.path.isdir("/proc/self/ns"):
        return ()
    return tuple(os.stat(f"/proc/{pid}/ns/{name}").st_ino for name in ("pid", "mnt"))


def end_processes(processes: Iterable[Identity], *, grace: float = 2.0) -> list[Identity]:
    """TERM, and KILL after `grace` seconds; returns those that were alive and have ended.

    Each is signalled only while it is the process that it was: a reused pid is left alone.
    """
    with ExitStack() as stack:
        targets = []
        for identity in processes:
            target = _Target(identity)
            stack.callback(target.close)
            if target.signal(signal.SIGTERM):
                target.signal(signal.SIGCONT)  # a stopped process takes TERM only when it goes on
                targets.append(target)
        left = _wait_ended(targets, time.monotonic() + grace)
        for target in left:
            target.signal(signal.SIGKILL)
        left = _wait_ended(left, time.monotonic() + _KILL_WAIT)
        return [target.identity for target in targets if target not in left]


def _wait_ended(targets: list[_Target], until: float) -> list[_Target]:
    left = [target for target in targets if target.alive()]
    pause = 0.002
    while left and time.monotonic() < until:
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
        left = [target for target in left if target.alive()]
    return left


class _Target:
    """A process to be ended. Its pidfd, where there are such, is opened before its identity is checked."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self._pidfd: int | None = None
        if sys.platform == "linux" and hasattr(os, "pidfd_open"):
            with suppress(OSError):
                self._pidfd = os.pidfd_open(identity.pid)

    def alive(self) -> bool:
        """Whether it lives and is who it was."""
        return state_of(self.identity) == "alive"

    def signal(self, number: int) -> bool:
        """Send a signal if it lives; whether it was sent."""
        if not self.alive():
            return False
        try:
            if self._pidfd is not None:
                signal.pidfd_send_signal(self._pidfd, number)
            else:
                os.kill(self.identity.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def close(self) -> None:
        """Close its pidfd."""
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
