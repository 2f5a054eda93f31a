"""`hostbuild login` and `hostbuild logout`: logins are kept where docker keeps them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from hostbuild.cli.arguments import given_settings
from hostbuild.cli.failures import printable
from hostbuild.cli.signals import InterruptedBySignal
from hostbuild.cli.streams import write_output
from hostbuild.errors import UsageError
from hostbuild.model import Event
from hostbuild.settings.access import parse_registry
from hostbuild.settings.load import load_access

if TYPE_CHECKING:
    from argparse import Namespace

#: Bytes of a password on standard input: tokens have a few thousand.
_MAX_SECRET = 1 << 16


def run_login(arguments: Namespace) -> int:
    """Ask for what is missing, let the registry judge it, store it; 0. Raises HostbuildError."""
    registry = parse_registry(arguments.registry, "REGISTRY")
    access = load_access(None, given_settings(arguments), os.environ)
    user, secret = _identify(arguments, registry)
    from hostbuild.registry.login import login

    place = login(access, registry, user, secret, on_event=_Warnings(quiet=arguments.quiet))
    if not arguments.quiet:
        write_output(printable(f"logged in to {registry} as {user}; stored in {place}") + "\n")
    return 0


def run_logout(arguments: Namespace) -> int:
    """Remove the registry's login; 0, also where there was none. Raises HostbuildError."""
    registry = parse_registry(arguments.registry, "REGISTRY")
    access = load_access(None, given_settings(arguments), os.environ)
    from hostbuild.registry.login import logout

    places = logout(access, registry, _Warnings(quiet=arguments.quiet))
    if not arguments.quiet:
        gone = f"logged out of {registry}; removed from {', '.join(places)}" if places else ""
        write_output(printable(gone or f"no login for {registry} is stored") + "\n")
    return 0


def _identify(arguments: Namespace, registry: str) -> tuple[str, str]:
    """The user and the password. Raises UsageError where they are neither given nor can be asked for."""
    user = arguments.username or ""
    if arguments.password is not None and arguments.password_stdin:
        raise UsageError("--password and --password-stdin are both given", fix="leave --password out")
    if arguments.password is not None:
        _Warnings(quiet=arguments.quiet)(
            Event(
                "warning",
                "other users of this machine can see a password on the command line; use --password-stdin",
            )
        )
    secret = arguments.password
    if arguments.password_stdin:
        if not user:
            raise UsageError("--password-stdin needs a user", fix="add -u USER")
        secret = _from_standard_input()
    if not user or secret is None:
        user, secret = _ask(user, secret, registry)
    if not user or not secret:
        raise UsageError(f"the {'password' if user else 'user'} is empty", fix="give the registry's login")
    if ":" in user:
        raise UsageError("a user's name has no colon", fix="give the user with -u, and the password apart")
    return user, secret


def _from_standard_input() -> str:
    """All of it but one line feed at the end, as `echo` writes it."""
    if sys.stdin is None:
        raise UsageError(
            "standard input is closed", fix="write the password into it: … --password-stdin <FILE"
        )
    # As bytes: the locale, which decides how text is read, says nothing of a file that holds a password.
    data = sys.stdin.buffer.read(_MAX_SECRET + 1)
    if len(data) > _MAX_SECRET:
        raise UsageError(
            "what stands on standard input is too long for a password", fix="write the password only"
        )
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise _not_utf8("the password") from None
    return text.removesuffix("\n").removesuffix("\r")


def _not_utf8(what: str) -> UsageError:
    return UsageError(f"{what} is not UTF-8", why="logins are sent as UTF-8", fix="write it in UTF-8")


def _ask(user: str, secret: str | None, registry: str) -> tuple[str, str]:
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask for the login",
            fix=f"write it as: hostbuild login {registry} -u {_in_shell(user) or 'USER'} "
            "--password-stdin <FILE",
        )
    try:
        if not user:
            sys.stderr.write(f"user for {registry}: ")
            sys.stderr.flush()
            user = sys.stdin.readline().strip()
            if not user:
                raise UsageError("the user is empty", fix="give the registry's login, or the user with -u")
        if secret is None:
            import getpass

            secret = getpass.getpass(f"password for {user} at {registry}: ")
    except UnicodeDecodeError:
        raise _not_utf8("what was typed") from None
    except EOFError:
        sys.stderr.write("\n")
        raise UsageError("the login was not given", fix="type it, and end it with the enter key") from None
    except InterruptedBySignal:
        sys.stderr.write("\n")  # what is said next does not belong behind the question
        raise
    return user, secret


def _in_shell(text: str) -> str:
    """The text as one word of a shell's command line; "" stays empty."""
    import shlex

    return shlex.quote(text) if text else ""


class _Warnings:
    """Shows warnings and waits, and nothing else."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet

    def __call__(self, event: Event) -> None:
        if not self._quiet and event.kind in {"warning", "waiting"}:
            word = "warning: " if event.kind == "warning" else ""
            sys.stderr.write(printable(f"{word}{event.message}") + "\n")
