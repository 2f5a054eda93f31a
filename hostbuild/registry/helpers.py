"""Docker's credential helpers: programs named docker-credential-NAME (docker/docker-credential-helpers,
README).

The verb is their one argument, everything else goes through standard input and output: no secret is ever an
argument. `get` and `erase` are given the server's name, `store` a JSON object.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from hostbuild.errors import BuildTimeoutError, CredentialsError, ToolError, ToolMissingError
from hostbuild.model import Event, EventCallback, ignore_event
from hostbuild.process.command import Captured
from hostbuild.registry.answers import printable
from hostbuild.registry.scrub import Secrets
from hostbuild.registry.sendable import why_not_login

#: Seconds that a helper may take: some ask a person or a server.
HELPER_TIMEOUT = 60.0
#: Seconds after which it is said that one is waited for.
HELPER_PATIENCE = 5.0
#: The user name under which helpers keep an identity token.
TOKEN_USER = "<token>"  # noqa: S105

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
#: What a helper writes to standard output, with exit code 1, when it has nothing for this server.
_NOT_FOUND = "credentials not found in native keychain"
#: Sentences of theirs that hold no secret.
_KNOWN = re.compile(r"credentials not found( in [a-z ]{1,40})?")


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
    """One helper program, by the NAME that config.json has. Raises CredentialsError, which names it.

    A `waiting` event is told of one that takes more than five seconds; `extra["timed_out"]` is set in the
    error of one that does not end.
    """

    def __init__(
        self, name: str, environment: Mapping[str, str], run: Runner, on_event: EventCallback = ignore_event
    ) -> None:
        self.name = name
        self._on_event = on_event
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
            raise self._failed_get(done, said)
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
        why = why_not_login(user, secret)
        if why:
            raise CredentialsError(
                f"{self.program} gave no credentials that can be understood for {server}",
                why=why,
                fix=f"log in again: hostbuild login {server}",
            )
        return (user, secret) if secret else None

    def _failed_get(self, done: Captured, said: str) -> CredentialsError:
        """The error of a `get`, whose standard output may be the very login: it is not shown."""
        try:
            answer = json.loads(said)
        except (ValueError, RecursionError):
            answer = None
        secret = answer.get("Secret") if isinstance(answer, dict) else None
        secrets = Secrets(secret if isinstance(secret, str) else "", said)
        if _KNOWN.fullmatch(said):
            text = said
        else:
            text = printable(done.stderr, hide=secrets.hide)
            if said and not text:
                text = "what it wrote to standard output is not shown, because that is where logins stand"
        return self._error("get", done, text)

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
            with self._watched(verb):
                return self._run(
                    [self.program, verb], cwd="/", env=self._environment, timeout=HELPER_TIMEOUT, stdin=data
                )
        except ToolMissingError as error:
            raise CredentialsError(
                f"the credential helper {self.program} cannot be started",
                why=_without_path(error.why or error.what),
                fix=f"install it, or take {self.name!r} out of credsStore and credHelpers in config.json",
            ) from error
        except BuildTimeoutError as error:
            raise CredentialsError(
                f"the credential helper {self.program} {verb} did not end within {HELPER_TIMEOUT:g} s",
                why="it may wait for a person, or for a server",
                fix=f"unlock its key store first, or take {self.name!r} out of credsStore and credHelpers in "
                "config.json",
                timed_out=True,
            ) from error
        except ToolError as error:
            raise CredentialsError(
                f"the credential helper {self.program} {verb} failed", why=error.why or error.what
            ) from error

    @contextmanager
    def _watched(self, verb: str) -> Iterator[None]:
        """Say it when the helper takes long: nothing else shows what is waited for."""
        left = HELPER_TIMEOUT - HELPER_PATIENCE
        event = Event(
            "waiting",
            f"waiting for the credential helper {self.program} {verb}, {left:g} s more at most; "
            "it may wait for a person",
            data={"for": self.program, "seconds": left},
        )
        timer = threading.Timer(HELPER_PATIENCE, self._on_event, [event])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _failed(self, verb: str, done: Captured, *, hide: str = "") -> CredentialsError:
        # Helpers say on standard output what is wrong with `store` and `erase`.
        text = done.stdout.decode("utf-8", "replace").strip() or done.stderr.strip()
        return self._error(verb, done, printable(text, hide=Secrets(hide).hide))

    def _error(self, verb: str, done: Captured, text: str) -> CredentialsError:
        return CredentialsError(
            f"the credential helper {self.program} {verb} failed",
            why=f"exit code {done.returncode}" + (f": {text}" if text else ""),
            fix=f"try it by hand: {self.program} {verb}",
        )


def _without_path(why: str) -> str:
    """The reason without the directories of PATH, which may be many."""
    return why.partition(" in PATH (")[0] + " in PATH" if " in PATH (" in why else why
