"""Which login is for a registry: given ones first, then where docker, podman and the helpers keep theirs.

Order (promise): `access.credentials`; an explicit file (--authfile, else REGISTRY_AUTH_FILE) and then nothing
else; `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`; `$XDG_RUNTIME_DIR/containers/auth.json`;
`$XDG_CONFIG_HOME/containers/auth.json` or `~/.config/containers/auth.json`. The first that has a login for
the registry gives it; in one file the longest match of the repository's path counts, then a helper, then the
entry of the registry itself.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from hostbuild.errors import CredentialsError
from hostbuild.model import Access, Event, EventCallback, ignore_event
from hostbuild.registry.docker_config import (
    HUB,
    ConfigFile,
    Credential,
    canonical_key,
    canonical_registry,
    file_key,
    read_config,
)
from hostbuild.registry.helpers import TOKEN_USER, Helper, Runner
from hostbuild.registry.sendable import why_not_login

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Credential", "CredentialStore", "config_path", "explicit_path", "make_helper"]

#: Where a login of the request came from, flag, variable, prompt or library, is not known here.
_GIVEN = "the request"


class CredentialStore:
    """The logins that this user has; safe from many threads. Files and helpers are read once, when needed.

    `run` starts credential helpers (`hostbuild.process.command.capture`). `on_event` is warned of a helper
    that fails and of a file that everybody can read, once each.
    """

    def __init__(
        self, access: Access, run: Runner | None = None, on_event: EventCallback = ignore_event
    ) -> None:
        self._access = access
        self._run = run
        self._on_event = on_event
        self._lock = threading.RLock()
        self._files: list[ConfigFile] | None = None
        self._answers: dict[tuple[str, str], tuple[str, str] | None] = {}
        self._troubles: dict[str, str] = {}

    def find(self, registry: str, repository: str = "", *, fresh: bool = False) -> Credential | None:
        """The login for a repository of a registry (`docker.io`, `registry.example:5000`); None: anonymous.

        With `fresh` helpers are asked again: theirs may be short-lived. A helper that fails is a warning,
        once, and gives none (`trouble` says it). Raises CredentialsError for a helper that does not end, a
        file that cannot be read or understood, and an explicit one that is missing.
        """
        registry = canonical_registry(registry)
        with self._lock:
            given = self._given(registry, repository)
            if given is not None:
                return given
            for file in self._config_files():
                found = self._in_file(file, registry, repository, fresh)
                if found is not None:
                    return found
            return None

    def trouble(self, registry: str) -> str:
        """Why a stored login could not be had: which helper failed; "" where none did."""
        return self._troubles.get(canonical_registry(registry), "")

    def _given(self, registry: str, repository: str) -> Credential | None:
        pairs: dict[str, str] = {}
        for key, pair in self._access.credentials:
            pairs.setdefault(canonical_key(key), pair)
        path = f"{registry}/{repository}" if repository else registry
        while path:
            if path in pairs:
                user, colon, secret = pairs[path].partition(":")
                why = why_not_login(user, secret) if colon and user else "it is not USER:PASSWORD"
                if why:
                    raise CredentialsError(
                        f"the login given for {path} cannot be understood",
                        why=why,
                        fix="write --creds REGISTRY=USER:PASSWORD",
                    )
                if user == TOKEN_USER:
                    return Credential(identity_token=secret, source=_GIVEN, given=True)
                return Credential(user, secret, source=_GIVEN, given=True)
            path = path.rpartition("/")[0]
        return None

    def _config_files(self) -> list[ConfigFile]:
        if self._files is None:
            files = list(_read_all(self._access))
            for file in files:
                if file.exposed:
                    self._on_event(
                        Event(
                            "warning",
                            f"{file.path} holds logins and every user can read it: chmod 600 {file.path}",
                        )
                    )
            self._files = files
        return self._files

    def _in_file(self, file: ConfigFile, registry: str, repository: str, fresh: bool) -> Credential | None:
        inline = list(file.inline(registry, repository))
        for path, credential in inline:
            if path != registry:
                return credential
        name = file.helper(registry)
        if name:
            found = self._from_helper(file, name, registry, fresh)
            if found is not None:
                return found
        return inline[0][1] if inline else None

    def _from_helper(self, file: ConfigFile, name: str, registry: str, fresh: bool) -> Credential | None:
        try:
            answer = self._ask(name, registry, fresh)
        except CredentialsError as error:
            if error.extra.get("timed_out"):
                raise  # who went on would wait for it again at each registry, and nobody would know
            if registry not in self._troubles:
                self._troubles[registry] = error.what  # the warning has said why
                self._on_event(Event("warning", f"{error}; going on without a stored login for {registry}"))
            return None
        if answer is None:
            return None
        user, secret = answer
        source = f"the credential helper docker-credential-{name} ({file.helper_origin(registry)})"
        if user == TOKEN_USER:
            return Credential(identity_token=secret, source=source, helper=name)
        return Credential(user, secret, source=source, helper=name)

    def _ask(self, name: str, registry: str, fresh: bool) -> tuple[str, str] | None:
        key = (name, registry)
        if fresh or key not in self._answers:
            # A helper that failed once is not asked for each blob again.
            if registry in self._troubles:
                return None
            helper = make_helper(name, self._access.environment, self._run, self._on_event)
            answer = helper.get(file_key(registry))
            if answer is None and registry == HUB:
                answer = helper.get(HUB)  # podman's key
            self._answers[key] = answer
        return self._answers[key]


def make_helper(
    name: str, environment: Mapping[str, str], run: Runner | None, on_event: EventCallback = ignore_event
) -> Helper:
    """The helper of a name; `run` None means real processes. Raises CredentialsError."""
    from hostbuild.process.command import capture

    return Helper(name, environment, run or capture, on_event)


def explicit_path(access: Access) -> str:
    """The file that was named: --authfile, else REGISTRY_AUTH_FILE; "" where none was."""
    return access.authfile or access.environment.get("REGISTRY_AUTH_FILE", "")


def config_path(access: Access) -> str:
    """Where docker keeps logins: `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`; "" without a
    home.
    """
    directory = access.environment.get("DOCKER_CONFIG", "")
    if not directory:
        home = access.environment.get("HOME", "")
        if not home:
            return ""
        directory = os.path.join(home, ".docker")
    return os.path.join(directory, "config.json")


def _read_all(access: Access) -> Iterator[ConfigFile]:
    explicit = explicit_path(access)
    if explicit:
        file = read_config(explicit)
        if file is None:
            named = "--authfile" if access.authfile else "REGISTRY_AUTH_FILE"
            raise CredentialsError(
                f"{explicit} does not exist",
                why=f"{named} names it as the file with the logins",
                fix=f"log in first (hostbuild login --authfile {explicit} REGISTRY), or leave {named} out",
            )
        yield file
        return
    environment = access.environment
    home = environment.get("HOME", "")
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    settings = environment.get("XDG_CONFIG_HOME", "") or (os.path.join(home, ".config") if home else "")
    paths = [
        config_path(access),
        *(os.path.join(base, "containers", "auth.json") for base in (runtime, settings) if base),
    ]
    for path in dict.fromkeys(paths):
        file = read_config(path) if path else None
        if file is not None:
            yield file
