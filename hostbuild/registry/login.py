"""Logging in and out: where docker would keep it, in the form that docker has it.

The file is the explicit one (--authfile, REGISTRY_AUTH_FILE), else `$DOCKER_CONFIG/config.json` or
`~/.docker/config.json`. Where it names a helper for the registry (credHelpers, credsStore) the login goes
there, and the file only gets an empty entry, as docker has it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hostbuild.errors import AuthenticationError, CredentialsError, UsageError
from hostbuild.model import Access, Event, EventCallback, ignore_event
from hostbuild.registry.credentials import CredentialStore, config_path, explicit_path, make_helper
from hostbuild.registry.docker_config import (
    HUB,
    ConfigFile,
    drop_entries,
    edit_config,
    file_key,
    put_entry,
    read_config,
    registry_of,
)
from hostbuild.registry.helpers import TOKEN_USER, Runner
from hostbuild.registry.session import RegistrySession

if TYPE_CHECKING:
    from hostbuild.http import Transport


def login(
    access: Access,
    registry: str,
    user: str,
    secret: str,
    on_event: EventCallback = ignore_event,
    *,
    run: Runner | None = None,
    connect: Callable[[Access, EventCallback], Transport] | None = None,
) -> str:
    """Try a login at its registry and keep it; where, for people.

    `registry` is a host, with a port where it has one (`registry.example:5000`, `docker.io`), or its URL. The
    user `<token>` means that `secret` is an identity token. `connect` makes the transport, `run` runs
    helpers. Kept in plain text it is a `warning` event.

    Raises UsageError and InvalidReferenceError for what cannot be a login, AuthenticationError where the
    registry refuses it, CredentialsError where it cannot be kept, and what the transport raises. Nothing is
    kept then.
    """
    registry = registry_of(registry)
    _check(registry, user, secret)
    path = _path(access)
    file = read_config(path) or ConfigFile(path, {})
    given = access._replace(credentials=((registry, f"{user}:{secret}"),))
    with (connect or _connect)(given, on_event) as transport:
        session = RegistrySession(transport, CredentialStore(given), registry, on_event)
        _verify(session, user, on_event)
    name = file.helper(registry)
    if name:
        make_helper(name, access.environment, run, on_event).store(file_key(registry), user, secret)
        edit_config(path, lambda document: _put(document, registry, {}))
        return f"the credential helper docker-credential-{name} ({file.helper_origin(registry)})"
    edit_config(path, lambda document: _put(document, registry, _secrets(user, secret)))
    on_event(
        Event(
            "warning",
            f"the login is kept in {path} in plain text; a credential helper (credsStore) keeps it better",
        )
    )
    return path


def logout(
    access: Access, registry: str, on_event: EventCallback = ignore_event, *, run: Runner | None = None
) -> tuple[str, ...]:
    """Forget the login of a registry, in the file where `login` keeps them and in the helper that it names.

    Gives where something was erased, for people; empty: there was none. A login that is left in another file
    is a `warning` event. Raises CredentialsError, InvalidReferenceError.
    """
    registry = registry_of(registry)
    path = _path(access)
    file = read_config(path) or ConfigFile(path, {})
    places = []
    name = file.helper(registry)
    if name:
        helper = make_helper(name, access.environment, run, on_event)
        # podman keeps Docker Hub's under another name: neither is left.
        erased = [
            helper.erase(key) for key in ((file_key(registry), HUB) if registry == HUB else (registry,))
        ]
        if any(erased):
            places.append(f"the credential helper docker-credential-{name} ({file.helper_origin(registry)})")
    if file.holds(registry) and edit_config(path, lambda document: drop_entries(document, registry)):
        places.append(path)
    elsewhere = None if explicit_path(access) else CredentialStore(access._replace(credentials=()), run)
    rest = elsewhere.find(registry) if elsewhere is not None else None
    if rest is not None:
        on_event(Event("warning", f"another login for {registry} is left: {rest.source}"))
    return tuple(places)


def _check(registry: str, user: str, secret: str) -> None:
    why = fix = ""
    if not user:
        why, fix = "there is no user name", "name one with --username"
    elif not secret:
        why, fix = "there is no password", "give it on standard input with --password-stdin"
    elif ":" in user:
        why, fix = "a user name cannot hold a colon (RFC 7617)", "write the user name alone"
    elif not _is_utf8(user + secret):
        why, fix = "user name or password is not UTF-8, as logins are sent", "write it in UTF-8"
    elif any(not character.isprintable() for character in user + secret):
        why, fix = "user name or password holds a character that cannot be typed", "take line ends away"
    if why:
        raise UsageError(f"cannot log in to {registry}", why=why, fix=fix)


def _is_utf8(text: str) -> bool:
    """Whether no byte in it had to be escaped when it was read."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _path(access: Access) -> str:
    path = explicit_path(access) or config_path(access)
    if not path:
        raise CredentialsError(
            "there is no place to keep logins", why="HOME is not set", fix="name a file with --authfile"
        )
    return path


def _verify(session: RegistrySession, user: str, on_event: EventCallback) -> None:
    registry = session.registry
    try:
        known = session.verify()
    except AuthenticationError as error:
        raise AuthenticationError(
            f"{registry} refuses the login of {user!r}",
            why=error.why,
            fix="check the user name and the password; some registries want an access token for one",
            **error.extra,
        ) from error
    if not known:
        on_event(Event("warning", f"{registry} asks for no login, so this one could not be tried"))


def _connect(access: Access, on_event: EventCallback) -> Transport:
    from hostbuild.http import Transport

    return Transport(access, on_event=on_event)


def _secrets(user: str, secret: str) -> dict[str, str]:
    """An entry of `auths` as docker writes it."""
    text = f"{user}:" if user == TOKEN_USER else f"{user}:{secret}"
    auth = {"auth": base64.b64encode(text.encode()).decode("ascii")}
    return {**auth, "identitytoken": secret} if user == TOKEN_USER else auth


def _put(document: dict[str, Any], registry: str, secrets: dict[str, str]) -> bool:
    put_entry(document, registry, secrets)
    return True
