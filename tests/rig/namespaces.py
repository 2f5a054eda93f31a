"""Run commands of another machine in a root file system, as a container would: /proc and /dev are there, and
what a command starts is emulated, too.

An emulator runs one program. What that program starts, the kernel starts, which knows the emulator only where
it is registered (binfmt_misc). It is registered in a user namespace of one's own (Linux 6.7 and later has the
registry for each of them), so that nothing of the machine is changed, and nothing is left behind.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.rig.oci_tools import tool
from tests.rig.run_image import EMULATORS, NATIVE

#: What decides in the first 20 bytes of a machine's programs, its class and its number, and which bits count.
_CLASSES = {"amd64": (2, 0x3E), "arm64": (2, 0xB7), "arm": (1, 0x28)}
_MASK = b"\xff" * 7 + b"\x00" + b"\xff" * 8 + b"\xfe\xff\xff\xff"

#: Runs in a fresh interpreter. A child of it, left outside, writes the namespace's maps: root's are whole.
_ENTER = """
import ctypes, json, os, sys
plan = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)

def call(name, *arguments):
    if getattr(libc, name)(*arguments):
        number = ctypes.get_errno()
        sys.exit(f"{name} {arguments}: {os.strerror(number)}")

def write(path, data):
    descriptor = os.open(path, os.O_WRONLY)
    os.write(descriptor, data)
    os.close(descriptor)

is_root, me = os.geteuid() == 0, os.getpid()
ready, tell = os.pipe()
child = os.fork()
if child == 0:
    os.close(tell)
    os.read(ready, 1)
    if not is_root:
        write(f"/proc/{me}/setgroups", b"deny")
    count = 65536 if is_root else 1
    write(f"/proc/{me}/uid_map", b"0 %d %d" % (os.geteuid(), count))
    write(f"/proc/{me}/gid_map", b"0 %d %d" % (os.getegid(), count))
    os._exit(0)
NEWNS, NEWUSER, BIND, REC, PRIVATE = 0x20000, 0x10000000, 0x1000, 0x4000, 0x40000
call("unshare", NEWUSER | NEWNS)
os.write(tell, b"1")
if os.waitpid(child, 0)[1]:
    sys.exit("the namespace's users cannot be mapped")
call("mount", b"none", b"/", None, REC | PRIVATE, None)
root = os.fsencode(plan["root"])
if plan["format"]:
    registry = b"/proc/sys/fs/binfmt_misc"
    call("mount", b"binfmt_misc", registry, b"binfmt_misc", 0, None)
    write(registry + b"/register", bytes.fromhex(plan["format"]))
for source, target in {"/proc": "/proc", "/dev": "/dev", **plan["binds"]}.items():
    call("mount", os.fsencode(source), root + os.fsencode(target), None, BIND | REC, None)
os.chroot(root)
os.chdir(plan["cwd"])
if is_root:
    os.setgroups([])
    os.setgid(plan["group"])
    os.setuid(plan["user"])
os.execve(plan["argv"][0], plan["argv"], plan["env"])
"""


def entering(
    root: Path,
    architecture: str,
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    user: int = 0,
    group: int = 0,
    cwd: str = "/",
    binds: Mapping[str, str] | None = None,
) -> list[str]:
    """The words that start a command (its path first) in `root`, as that user where root runs the tests.

    `binds` are directories outside, each with the path in `root`, which must be there, at which the command
    sees it.
    """
    plan = {
        "root": str(root),
        "format": _registration(architecture).hex() if architecture != NATIVE else "",
        "argv": list(argv),
        "env": dict(env),
        "user": user,
        "group": group,
        "cwd": cwd,
        "binds": dict(binds or {}),
    }
    return [sys.executable, "-I", "-S", "-c", _ENTER, json.dumps(plan)]


def run_inside(
    root: Path,
    architecture: str,
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    user: int = 0,
    timeout: float = 120,
    binds: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Run a command in `root` to its end: its exit code, and all that it printed."""
    done = subprocess.run(
        entering(root, architecture, argv, env=env, user=user, group=user, binds=binds),
        env={"PATH": os.defpath},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
        check=False,
    )
    return done.returncode, done.stdout.decode(errors="replace")


def _registration(architecture: str) -> bytes:
    """The kernel's words (its documentation, "Kernel Support for miscellaneous Binary Formats").

    F opens the emulator now, by its path outside.
    """
    bits, machine = _CLASSES[architecture]
    magic = b"\x7fELF" + bytes((bits, 1, 1)) + bytes(9) + b"\x02\x00" + bytes((machine, 0))
    fields = (_escaped(magic), _escaped(_MASK), tool(EMULATORS[architecture]).encode())
    return b":hostbuild-tests:M::" + b":".join(fields) + b":F"


def _escaped(data: bytes) -> bytes:
    return b"".join(b"\\x%02x" % byte for byte in data)
