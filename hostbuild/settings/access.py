"""How registries are reached, out of settings: logins, mirrors, certificates, patience.

No message of this module quotes a login: its text may be nothing but a password.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from hostbuild.errors import SettingsError, UsageError
from hostbuild.model import DEFAULT_ACCESS, Access

Pick = Callable[..., Any]

_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_REGISTRY = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[A-Fa-f0-9:]+\])(?::[0-9]+)?")
_PREFIX = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*")
_HUB = "docker.io"
_HUB_ALIASES = {"index.docker.io", "registry-1.docker.io"}


def make_access(pick: Pick, environ: Mapping[str, str], reference: str) -> Access:
    """The access that the settings ask for.

    `pick(name, default)` gives a setting; `reference` is the image whose registry a login without one is for,
    "" where there is none. Raises SettingsError, and InvalidReferenceError for `reference`.
    """

    def first_registry() -> str:
        return _registry_of(reference)

    return Access(
        environment=environ,
        verify=pick("tls-verify", DEFAULT_ACCESS.verify),
        ca_file=pick("ca-file", ""),
        authfile=pick("authfile", ""),
        credentials=tuple(parse_login(text, first_registry) for text in pick("creds", ())),
        mirrors=tuple(parse_mirror(text) for text in pick("registry-mirror", ())),
        offline=pick("offline", False),
        retry_time=pick("retry-time", DEFAULT_ACCESS.retry_time),
    )


def _registry_of(reference: str) -> str:
    if not reference:
        raise SettingsError(
            "--creds or HOSTBUILD_CREDS: which registry the login is for is not said",
            fix="write REGISTRY=USER:PASSWORD",
        )
    from hostbuild.oci.reference import Reference

    return Reference.parse(reference).registry


def parse_login(text: str, first_registry: Callable[[], str]) -> tuple[str, str]:
    """`[REGISTRY=]USER:PASSWORD` as (registry, "user:password"). Raises SettingsError, which quotes nothing.

    A password may hold "=": what stands before the first one is a registry if it is spelled like one. Where a
    login happens to begin so (user:123=x), its registry must be written.
    """
    rest = re.sub(r"\Ahttps?://", "", text)
    before, equals, after = rest.partition("=")
    before = before.rstrip("/")
    if equals and _is_registry(before):
        return canonical_registry(before), _login(after)
    if equals and ":" not in before:
        raise SettingsError(
            "--creds or HOSTBUILD_CREDS: what stands before = is not a registry's address",
            fix="write [REGISTRY=]USER:PASSWORD, the registry as HOST.DOMAIN or HOST:PORT",
        )
    return canonical_registry(first_registry()), _login(rest)


def _login(text: str) -> str:
    user, colon, password = text.partition(":")
    if not user or not colon or not password:
        raise SettingsError(
            "--creds or HOSTBUILD_CREDS: a login is not [REGISTRY=]USER:PASSWORD",
            why="there is no user" if not user else "there is no password after the user and a colon",
            fix="write it so, or use `hostbuild login`, which asks for the password",
        )
    return text


def _is_registry(text: str) -> bool:
    """Whether it is spelled as a registry's address; one word alone may as well be a user's name."""
    plain = text.lower() == "localhost" or "." in text or ":" in text
    return plain and _REGISTRY.fullmatch(text) is not None


def canonical_registry(text: str) -> str:
    """A registry's address as references have it: Docker Hub has many names, and is docker.io."""
    address = text.lower()
    return _HUB if address in _HUB_ALIASES else address


def parse_registry(text: str, what: str) -> str:
    """A registry's address out of what a user wrote: a scheme and Docker Hub's path are left out.

    `what` names the place in the error. Raises UsageError.
    """
    _refuse_login(text, what)
    address = re.sub(r"\Ahttps?://", "", text).rstrip("/")
    address = re.sub(r"\A(index\.docker\.io|registry-1\.docker\.io)/v[12]\Z", r"\1", address)
    if _REGISTRY.fullmatch(address) is None:
        raise UsageError(
            f"{what} is not a registry's address: {text!r}",
            fix="write HOST or HOST:PORT, such as registry.example:5000",
        )
    return canonical_registry(address)


def parse_mirror(text: str) -> tuple[str, str]:
    """`REGISTRY=HOST[/PREFIX]` as (registry, address). Raises SettingsError."""
    _refuse_login(text, "--registry-mirror")
    registry, equals, address = text.partition("=")
    host, slash, prefix = address.removeprefix("https://").rstrip("/").partition("/")
    why = ""
    if not equals:
        why = "there is no ="
    elif _REGISTRY.fullmatch(registry) is None:
        why = f"{registry!r} is not a registry's address"
    elif "://" in address and not address.startswith("https://"):
        why = "a mirror is reached by https; plain HTTP is tried for localhost and with --tls-verify=false"
    elif _REGISTRY.fullmatch(host) is None:
        why = f"{host!r} is not a host's address"
    elif slash and _PREFIX.fullmatch(prefix) is None:
        why = f"{prefix!r} cannot begin a repository's name"
    if why:
        raise SettingsError(
            f"--registry-mirror {text!r} is not REGISTRY=HOST[/PREFIX]",
            why=why,
            fix="write it as docker.io=mirror.example/hub",
        )
    return canonical_registry(registry), f"{host}{slash}{prefix}"


def _refuse_login(text: str, what: str) -> None:
    if "@" in text:
        raise SettingsError(
            f"{what}: a login does not stand in an address", fix="use `hostbuild login`, or --creds"
        )
