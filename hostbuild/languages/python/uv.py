"""The uv command: where it is, how it is started, and its failures as typed errors."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from hostbuild.errors import DependenciesError, OfflineError, ToolError, ToolMissingError, UnreachableError
from hostbuild.languages.python.indexes import hide
from hostbuild.records import field, record

if TYPE_CHECKING:
    from hostbuild.languages.base import Finished

#: Earlier releases leave out hashes that an index does not give, and with --quiet say nothing of errors.
OLDEST = "0.13"
ADVICE = f"pip install 'hostbuild[python]', or install uv ({OLDEST} or later)"

_CAUSE = re.compile(r"^(?:error|  cause): (.+)$", re.MULTILINE)
_REFUSED = re.compile(
    r"^(?:error: |  cause: |hint: )?(.*(?:401 Unauthorized|403 Forbidden).*)$", re.MULTILINE
)
_SAID = re.compile(r"^(?:error|  cause): ")
_UNKNOWN_FLAG = re.compile(r"unexpected argument|invalid value .* for '--|unrecognized subcommand")
_UNREACHABLE = re.compile(
    r"error sending request|dns error|connection (?:refused|reset|closed)|timed out|operation timed out|"
    r"\b(?:429 Too Many|50[0234] )|failed to lookup address",
    re.IGNORECASE,
)
_NO_NETWORK = re.compile(r"network was disabled|network connectivity is disabled|--offline", re.IGNORECASE)


class Run(Protocol):
    """Starts a tool and waits for its end, as `Context.run` and `process.command.run` do."""

    def __call__(self, argv: Sequence[str], *, cwd: str, env: Mapping[str, str]) -> Finished:
        """Raises ToolError, with what the tool printed as `detail`, and ToolMissingError."""


@record
class Uv:
    """The uv command with the complete environment that it is started with; `hidden` is never shown."""

    path: str
    environment: Mapping[str, str] = field(repr=False)
    hidden: tuple[str, ...] = field(repr=False, default=())
    runner: Run | None = field(repr=False, default=None)

    def run(self, arguments: Sequence[str], *, cwd: str) -> None:
        """Run `uv` quietly to its end.

        Raises ToolError with what it printed, without secrets, as `detail`.
        """
        run = self.runner
        if run is None:
            from hostbuild.process.command import run as run_command

            run = run_command
        try:
            run((self.path, *arguments), cwd=cwd, env=self.environment)
        except ToolError as error:
            detail = hide(error.detail, self.hidden)
            # The chain is cut: what the tool printed is in it, secrets and all.
            raise ToolError(
                hide(error.what, self.hidden), why=hide(error.why, self.hidden), fix=error.fix, detail=detail
            ) from None


def find_uv(environment: Mapping[str, str]) -> str:
    """The absolute path of the uv command: HOSTBUILD_UV, the one in PATH, or the `uv` package's.

    Raises ToolMissingError.
    """
    from shutil import which

    search = environment.get("PATH", os.defpath)
    wanted = environment.get("HOSTBUILD_UV", "")
    if wanted:
        found = which(wanted, path=search)
        if not found:
            raise ToolMissingError(
                f"the uv command {wanted!r} was not found",
                why="HOSTBUILD_UV names it",
                fix="correct HOSTBUILD_UV, or unset it to use the uv command in PATH",
            )
        return os.path.abspath(found)
    found = which("uv", path=search) or _packaged()
    if not found:
        raise ToolMissingError(
            "no uv command was found",
            why="it resolves dependencies; neither HOSTBUILD_UV, nor PATH, nor the uv package has it",
            fix=ADVICE,
        )
    return os.path.abspath(found)


def _packaged() -> str:
    """The uv command of the uv package in this Python, or ""."""
    try:
        from uv import find_uv_bin
    except ImportError:
        return ""
    try:
        return os.fspath(find_uv_bin())
    except FileNotFoundError:
        return ""


def explain(error: ToolError, what: str, *, offline: bool = False) -> Exception:
    """The error that says what a failure of uv means for the build; `what` could not be done."""
    detail = error.detail
    causes = _CAUSE.findall(detail)
    why = (
        (causes[1] if len(causes) > 1 and causes[0].startswith("No solution") else causes[0])
        if causes
        else ""
    )
    if refused := _REFUSED.search(detail):
        why = refused[1]
    why = why or error.what
    rest = _rest(detail, why)
    if _UNKNOWN_FLAG.search(detail):
        return ToolMissingError("this uv command is too old", why=why, fix=ADVICE, detail=rest)
    if offline and _NO_NETWORK.search(detail):
        return OfflineError(
            what,
            why="what is needed is not in uv's cache, and --offline forbids the network",
            fix="build once without --offline, or commit a lock (uv lock, or pylock.toml)",
            detail=_rest(detail, ""),
        )
    if _UNREACHABLE.search(detail):
        return UnreachableError(
            what, why=why, fix="look at the network and the package index, then try again", detail=rest
        )
    return DependenciesError(what, why=why, fix=_fix(detail), detail=rest)


def _rest(detail: str, why: str) -> str:
    """What uv printed besides the reason, and besides the targets' markers in full length."""
    lines = []
    for line in detail.splitlines():
        said = _SAID.sub("", line).removeprefix("hint: ")
        if said == why or said.startswith("No solution found when resolving dependencies"):
            continue
        lines.append(line.removeprefix("error: "))
    return "\n".join(lines).strip("\n")


def _fix(detail: str) -> str:
    if "authentication credentials" in detail or "401 Unauthorized" in detail or "403 Forbidden" in detail:
        return (
            "give the index's user and password: UV_INDEX_NAME_USERNAME and _PASSWORD, ~/.netrc, or a keyring"
        )
    if "-compatible wheels" in detail:
        return "leave the platform out with --platform, or depend on something else there"
    if "was not found in the package registry" in detail:
        return "correct the name, or name the index that has it (UV_INDEX), with its user and password"
    if "does not satisfy Python" in detail:
        return "use a base image with another Python, or another version of the package"
    if "Failed to build" in detail or "Failed to download and build" in detail:
        return "what it depends on is only known by building it, which failed: take a version with a wheel"
    return "change what is asked for"
