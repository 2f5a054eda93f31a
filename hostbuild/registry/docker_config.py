"""Docker's config.json, and containers' auth.json of the same form: what logins they hold, and editing them.

Docker's rules (docker/cli, cli/config): `auths` maps a registry to an entry; its `auth` is base64 of
`user:password`, `identitytoken` takes the place of the password, `registrytoken` is a bearer token as it is.
`credHelpers` maps a registry to a helper, `credsStore` names one for all others; an empty helper means this
file. A key may have a scheme and a path; Docker Hub's is `https://index.docker.io/v1/`. A key of containers'
auth.json may name part of a registry (containers-auth.json(5)): `registry.example/team`.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hostbuild.errors import CredentialsError, InvalidReferenceError
from hostbuild.oci.reference import Reference
from hostbuild.points import reach
from hostbuild.reading import read_named
from hostbuild.records import field, record
from hostbuild.registry.sendable import is_bearer, why_not_login

HUB = "docker.io"
#: Docker Hub's key in files and helpers, for historical reasons.
HUB_KEY = "https://index.docker.io/v1/"
_HUB_NAMES = frozenset({HUB, "index.docker.io", "registry-1.docker.io"})

#: Bytes of a file that are read.
MAX_CONFIG = 16 * 1024 * 1024
_SECRET_FIELDS = ("auth", "identitytoken", "registrytoken", "username", "password")


@record
class Credential:
    """A login. Its repr shows no secret.

    `user` and `secret` are for Basic; `identity_token` is exchanged for tokens (OAuth 2 refresh token);
    `registry_token` is sent as it is, as Bearer. `source` says where it comes from, for people; `helper`
    names the credential helper that gave it; `given` is true for one that was given with the request and is
    stored nowhere.
    """

    user: str = ""
    secret: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    source: str = field(default="", compare=False)
    helper: str = field(default="", compare=False)
    given: bool = field(default=False, compare=False)


def canonical_key(key: str) -> str:
    """What a key of `auths` is about: `registry`, or `registry/path` where it names a part of one."""
    _, scheme, rest = key.rpartition("://")
    host, _, path = rest.partition("/")
    path = path.strip("/")
    # A URL's path is that of an API version, or means nothing to Docker.
    if scheme or path in ("v1", "v2"):
        path = ""
    host = canonical_registry(host)
    return f"{host}/{path}" if path else host


def canonical_registry(registry: str) -> str:
    """One name for each registry: lower case, `docker.io` for Docker Hub's several."""
    registry = registry.lower()
    return HUB if registry in _HUB_NAMES else registry


def registry_of(text: str) -> str:
    """The registry that a user names: `registry.example:5000`, as a URL as well.

    Raises InvalidReferenceError for what names a part of one, or nothing.
    """
    key = canonical_key(text.strip())
    if not key or "/" in key or "@" in key or any(character.isspace() for character in key):
        raise InvalidReferenceError(
            f"{text!r} is not a registry",
            why="a login is for a whole registry: a host, with a port where it has one",
            fix="write it as registry.example or registry.example:5000",
        )
    try:
        Reference.parse(f"{key}/name")
    except InvalidReferenceError as error:
        raise InvalidReferenceError(f"{text!r} is not a registry", why=error.why, fix=error.fix) from None
    return key


def file_key(registry: str) -> str:
    """The key under which Docker keeps a registry's login, in files and helpers."""
    return HUB_KEY if registry == HUB else registry


class ConfigFile:
    """One such file as it was read; absent and empty ones hold nothing."""

    def __init__(self, path: str, document: Mapping[str, Any], mode: int = 0o600) -> None:
        self.path = path
        self._auths = _mapping(document, "auths", path)
        self._helpers = _mapping(document, "credHelpers", path)
        store = document.get("credsStore") or ""
        if not isinstance(store, str):
            raise _broken(path, "credsStore is not a text")
        self._store = store
        self._mode = mode

    @property
    def exposed(self) -> bool:
        """Whether every user of the machine can read secrets in it."""
        return bool(self._mode & stat.S_IROTH) and any(
            isinstance(entry, dict) and any(entry.get(name) for name in _SECRET_FIELDS)
            for entry in self._auths.values()
        )

    def helper(self, registry: str) -> str:
        """The helper that keeps a registry's login, "" for this file."""
        for key, name in self._helpers.items():
            if canonical_key(key) == registry:
                if not isinstance(name, str):
                    raise _broken(self.path, f"credHelpers has no text for {key!r}")
                return name
        return self._store

    def helper_origin(self, registry: str) -> str:
        """Which setting names that helper, for people."""
        named = any(canonical_key(key) == registry for key in self._helpers)
        return f"{'credHelpers' if named else 'credsStore'} in {self.path}"

    def inline(self, registry: str, repository: str) -> Iterator[tuple[str, Credential]]:
        """The logins that the file itself holds, the most particular first, each with what it is for."""
        path = f"{registry}/{repository}" if repository else registry
        while path:
            for key in sorted(self._auths, key=lambda key: (key != file_key(path), key != path)):
                if canonical_key(key) == path:
                    credential = _decode(self._auths[key], key, self.path)
                    if credential is not None:
                        yield path, credential
            path = path.rpartition("/")[0]

    def holds(self, registry: str) -> bool:
        """Whether there is an entry, even an empty one, for the registry itself."""
        return any(canonical_key(key) == registry for key in self._auths)


def read_config(path: str) -> ConfigFile | None:
    """The file at `path`, None where there is none. Raises CredentialsError."""
    found = _read(path)
    if found is None:
        return None
    document, mode = found
    return ConfigFile(path, document, mode)


def edit_config(path: str, edit: Callable[[dict[str, Any]], bool]) -> bool:
    """Change the document at `path` in place: `edit` changes it and says whether it did; what it leaves,
    stays.

    The file is replaced at once or not at all, has mode 0600 afterwards, and is made where it is missing. A
    link is followed. Two edits at once wait for each other. Raises CredentialsError.
    """
    place = os.path.realpath(path)
    directory = os.path.dirname(place)
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        with _alone(directory):
            _drop_leftovers(place)
            document, _ = _read(place) or ({}, 0)
            if not edit(document):
                return False
            _replace(place, json.dumps(document, indent="\t", ensure_ascii=False).encode() + b"\n")
            return True
    except (OSError, UnicodeEncodeError) as error:
        raise CredentialsError(
            f"{path} cannot be written",
            why=getattr(error, "strerror", None) or str(error),
            fix="make it writable, or name another file with --authfile",
        ) from error


def entries(document: dict[str, Any]) -> dict[str, Any]:
    """The `auths` of a document that is being edited, made where they are missing."""
    auths = document.get("auths")
    if not isinstance(auths, dict):
        auths = document["auths"] = {}
    return auths


def put_entry(document: dict[str, Any], registry: str, secrets: Mapping[str, str]) -> None:
    """Set a registry's login, keeping the other fields of its entry; no `secrets` is the mark of a helper."""
    auths = entries(document)
    old = auths.get(file_key(registry))
    kept = (
        {name: value for name, value in old.items() if name not in _SECRET_FIELDS}
        if isinstance(old, dict)
        else {}
    )
    auths[file_key(registry)] = {**kept, **secrets}


def drop_entries(document: dict[str, Any], registry: str) -> bool:
    """Remove every entry of a registry itself, however its key is written; whether there was one."""
    auths = document.get("auths")
    if not isinstance(auths, dict):
        return False
    gone = [key for key in auths if canonical_key(key) == registry]
    for key in gone:
        del auths[key]
    return bool(gone)


def _decode(entry: object, key: str, path: str) -> Credential | None:
    if not isinstance(entry, dict):
        raise _broken(path, f"the entry of {key!r} is not an object")
    values = {name: entry.get(name) or "" for name in _SECRET_FIELDS}
    for name, value in values.items():
        if not isinstance(value, str):
            raise _broken(path, f"{name} of {key!r} is not a text")
    user, secret = values["username"], values["password"]
    if values["auth"]:
        try:
            text = base64.b64decode(values["auth"].strip(), validate=True).decode("utf-8")
        except (binascii.Error, ValueError):
            raise _broken(path, f"auth of {key!r} is not base64 of user:password") from None
        user, colon, secret = text.partition(":")
        if not colon:
            raise _broken(path, f"auth of {key!r} is not base64 of user:password")
        secret = secret.strip("\x00")
    if not (secret or values["identitytoken"] or values["registrytoken"]):
        return None  # the mark that a helper keeps it
    why = why_not_login(user, secret) or why_not_login("", values["identitytoken"])
    if not why and values["registrytoken"] and not is_bearer(values["registrytoken"]):
        why = "registrytoken holds what no token has: spaces, line ends, or other than ASCII"
    if why:
        raise _broken(path, f"the entry of {key!r}: {why}")
    return Credential(user, secret, values["identitytoken"], values["registrytoken"], source=path)


def _mapping(document: Mapping[str, Any], name: str, path: str) -> Mapping[str, Any]:
    value = document.get(name) or {}
    if not isinstance(value, dict):
        raise _broken(path, f"{name} is not an object")
    return value


def _read(path: str) -> tuple[dict[str, Any], int] | None:
    try:
        data, mode = read_named(path, MAX_CONFIG)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CredentialsError(
            f"{path} cannot be read",
            why=error.strerror or str(error),
            fix="make it readable for this user, or name another file with --authfile",
        ) from error
    if len(data) > MAX_CONFIG:
        raise _broken(path, f"it has more than {MAX_CONFIG} bytes")
    if not data.strip():
        return {}, mode
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise _broken(path, "it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise _broken(path, f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except (ValueError, RecursionError):
        raise _broken(path, "it is not JSON that can be read") from None
    if not isinstance(document, dict):
        raise _broken(path, "it is not an object")
    return document, mode


def _broken(path: str, why: str) -> CredentialsError:
    # Never a word of its content: it is made of secrets.
    return CredentialsError(
        f"{path} cannot be understood",
        why=why,
        fix="repair it, or move it away and log in again: hostbuild login REGISTRY",
    )


@contextmanager
def _alone(directory: str) -> Iterator[None]:
    """Hold the directory's own lock: it needs no file of its own, and the kernel frees it."""
    import fcntl

    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _drop_leftovers(place: str) -> None:
    """Remove what processes that were killed while they wrote left: it holds secrets. Under the lock."""
    directory, name = os.path.split(place)
    pattern = re.compile(re.escape(name) + r"\.[0-9a-f]{16}\.tmp")
    for each in filter(pattern.fullmatch, os.listdir(directory)):
        os.unlink(os.path.join(directory, each))


def _replace(place: str, data: bytes) -> None:
    temporary = f"{place}.{os.urandom(8).hex()}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        reach("login-before-rename")
        os.rename(temporary, place)
    except BaseException:
        os.unlink(temporary)
        raise
