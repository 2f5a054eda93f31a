"""Docker's credential helpers: programs named docker-credential-NAME (docker/docker-credential-helpers,
README).

The verb is their one argument, everything else goes through standard input and output: no secret is ever an
argument. `get` and `erase` are given the server's name, `store` a JSON object.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from hostbuild.errors import BuildTimeoutError, CredentialsError, ToolError, ToolMissingError
from hostbuild.process.command import Captured
from hostbuild.registry.answers import printable

#: Seconds that a helper may take: some ask a person or a server.
HELPER_TIMEOUT = 60.0
#: The user name under which helpers keep an identity token.
TOKEN_USER = "<token>"  # noqa: S105

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
#: What a helper writes to standard output, with exit code 1, when it has nothing for this server.
_NOT_FOUND = "credentials not found in native keychain"


class Runner(Protocol):
    """How a helper is run: `hostbuild.process.command.capture`, or a test's stand-in."""

    def __call__(
        self,
        argv: Sequence[str],
        *,
        cwd: str | os.PathLike[str],
        env: Mapping[str, str],
        timeout: float | None,
        stdin: bytes | None,
    ) -> Captured:
        """Run `argv` to its end."""
        ...


class Helper:
    """One helper program, by the NAME that config.json has. Raises CredentialsError, which names it."""

    def __init__(self, name: str, environment: Mapping[str, str], run: Runner) -> None:
        self.name = name
        self.program = f"docker-credential-{name}"
        self._environment = environment
        self._run = run
        if _NAME.fullmatch(name) is None:
            raise CredentialsError(
                f"{name!r} is not the name of a credential helper",
                why="config.json has it in credsStore or credHelpers",
                fix="write NAME for a program docker-credential-NAME in PATH",
            )

    def get(self, server: str) -> tuple[str, str] | None:
        """User and secret for a server, None where the helper has none."""
        done = self._call("get", server.encode())
        said = done.stdout.decode("utf-8", "replace").strip()
        if done.returncode != 0:
            if said == _NOT_FOUND:
                return None
            raise self._failed("get", done)
        try:
            answer = json.loads(done.stdout)
            user, secret = answer["Username"], answer["Secret"]
        except (ValueError, RecursionError, TypeError, KeyError):
            user = secret = None
        if not isinstance(user, str) or not isinstance(secret, str):
            raise CredentialsError(
                f"{self.program} gave no credentials that can be understood for {server}",
                why="its answer to get is not a JSON object with Username and Secret",
                fix=f"try it: echo {server} | {self.program} get",
            )
        return (user, secret) if secret else None

    def store(self, server: str, user: str, secret: str) -> None:
        """Keep user and secret for a server."""
        document = json.dumps({"ServerURL": server, "Username": user, "Secret": secret})
        done = self._call("store", document.encode())
        if done.returncode != 0:
            raise self._failed("store", done, hide=secret)

    def erase(self, server: str) -> bool:
        """Forget what is kept for a server; whether there was something."""
        done = self._call("erase", server.encode())
        if done.returncode == 0:
            return True
        if done.stdout.decode("utf-8", "replace").strip() == _NOT_FOUND:
            return False
        raise self._failed("erase", done)

    def _call(self, verb: str, data: bytes) -> Captured:
        try:
            return self._run(
                [self.program, verb], cwd="/", env=self._environment, timeout=HELPER_TIMEOUT, stdin=data
            )
        except ToolMissingError as error:
            raise CredentialsError(
                f"the credential helper {self.program} cannot be started",
                why=error.why or error.what,
                fix=f"install it, or take {self.name!r} out of credsStore and credHelpers in config.json",
            ) from error
        except BuildTimeoutError as error:
            raise CredentialsError(
                f"the credential helper {self.program} {verb} did not end within {HELPER_TIMEOUT:g} s",
                fix="it may wait for a person: unlock its key store first",
            ) from error
        except ToolError as error:
            raise CredentialsError(
                f"the credential helper {self.program} {verb} failed", why=error.why or error.what
            ) from error

    def _failed(self, verb: str, done: Captured, *, hide: str = "") -> CredentialsError:
        # Helpers say what is wrong on standard output; a failing one has not written a secret there.
        text = done.stdout.decode("utf-8", "replace").strip() or done.stderr.strip()
        if hide:
            text = text.replace(hide, "***")
        return CredentialsError(
            f"the credential helper {self.program} {verb} failed",
            why=f"exit code {done.returncode}" + (f": {printable(text)}" if text else ""),
            fix=f"try it by hand: {self.program} {verb}",
        )
