"""Image references by Docker's grammar (github.com/distribution/reference, and its normalisation).

    reference := [registry "/"] repository [":" tag] ["@" digest]

The first component is a registry only if it holds "." or ":", is `localhost`, or has an upper-case letter;
else the registry is docker.io, where a repository of one component lies below `library/`.
"""

from __future__ import annotations

import re

from hostbuild.errors import InvalidDigestError, InvalidReferenceError
from hostbuild.oci.digest import Digest
from hostbuild.oci.quoting import quote
from hostbuild.records import record, replace

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
#: Registry, "/" and repository together, as many clients have it (distribution specification, "Pulling
#: manifests").
MAX_NAME = 255
MAX_TAG = 128
MAX_PORT = 65535

_LEGACY_REGISTRY = "index.docker.io"
_OFFICIAL = "library/"

_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_REGISTRY = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_COMPONENT = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_FIX = "write [REGISTRY/]NAME[:TAG], such as registry.example/team/app:v1"
#: What follows the "@" of a digest, also of one that is wrong.
_DIGEST_START = "sha[0-9]+(:|$)|[A-Za-z0-9+._-]+:[A-Fa-f0-9]{32,}$"
_TAG = "[A-Za-z0-9_][A-Za-z0-9_.-]*"


@record(slots=True)
class Reference:
    """A name in a registry, with a tag, a digest, or both; made by `parse`."""

    registry: str
    repository: str
    tag: str = ""
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """The reference that `text` spells, completed: registry, `library/`, and the tag `latest`.

        A reference that has a digest gets no tag. Raises InvalidReferenceError.
        """
        _refuse_unlike(text)
        rest, at, digest_text = text.partition("@")
        digest = _digest(text, digest_text) if at else None
        name, tag = _split_tag(text, rest)
        registry, repository = _split_registry(name)
        _check_registry(text, registry)
        _check_repository(text, name, repository)
        if len(registry) + 1 + len(repository) > MAX_NAME:
            raise _refusal(
                text,
                f"registry and repository together have more than {MAX_NAME} characters",
                "shorten the repository",
            )
        return cls(registry, repository, tag if tag or digest else DEFAULT_TAG, digest)

    @classmethod
    def parse_tagged(cls, text: str) -> Reference:
        """The same for a name that an image is given: it has a tag and no digest.

        Raises InvalidReferenceError.
        """
        reference = cls.parse(text)
        if reference.digest is not None:
            raise _refusal(
                text,
                "a digest follows from the content, an image cannot be given one",
                f"write {reference.familiar_name}:{reference.tag or DEFAULT_TAG}",
            )
        return reference

    @property
    def name(self) -> str:
        """Registry and repository: docker.io/library/nginx."""
        return f"{self.registry}/{self.repository}"

    @property
    def familiar_name(self) -> str:
        """The name as a user would write it: nginx, registry.example/app. It parses to the same name."""
        if self.registry != DEFAULT_REGISTRY:
            return self.name
        short = self.repository.removeprefix(_OFFICIAL)
        if "/" in short:
            short = self.repository
        if _is_identifier(short) or _split_registry(short) != (self.registry, self.repository):
            return self.name  # docker.io/example.com/app: without docker.io it would be another registry's
        return short

    @property
    def familiar(self) -> str:
        """The familiar name with tag and digest."""
        return self.familiar_name + self._suffix()

    def with_tag(self, tag: str) -> Reference:
        """The same name with this tag and no digest. Raises InvalidReferenceError."""
        _check_tag(f"{self.name}:{tag}", tag)
        return replace(self, tag=tag, digest=None)

    def with_digest(self, digest: Digest) -> Reference:
        """The same name with this digest and no tag: common tools refuse both together."""
        return replace(self, tag="", digest=digest)

    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{tag}@{self.digest}" if self.digest else tag

    def __str__(self) -> str:
        """The full reference, which parses to the same value."""
        return self.name + self._suffix()


def _refusal(text: str, why: str, fix: str = _FIX) -> InvalidReferenceError:
    return InvalidReferenceError(f"{quote(text)} is not an image reference", why=why, fix=fix)


def _is_identifier(text: str) -> bool:
    return re.fullmatch("[a-f0-9]{64}", text) is not None


def _refuse_unlike(text: str) -> None:
    """What is plainly something else gets an answer of its own."""
    if not text:
        raise _refusal(text, "it is empty")
    if _is_identifier(text):
        raise _refusal(text, "64 hex digits are an image's ID, not a name", "write a name, or NAME@sha256:…")
    scheme, separator, address = text.partition("://")
    login, address = _split_login(address if separator else text, is_url=bool(separator))
    if login:
        raise _refusal(
            f"{scheme + separator if separator else ''}***@{address}",
            "a login does not stand in a reference",
            f"write {quote(address)}, and give the login with `hostbuild login` or --creds",
        )
    if separator:
        raise _refusal(text, f"a reference has no {quote(scheme + separator)}", f"write {quote(address)}")


def _split_login(text: str, *, is_url: bool) -> tuple[str, str]:
    """What stands before an "@" that is no digest's and looks like a login, and the rest; else "" and all."""
    head, at, tail = text.rpartition("@")
    if at and re.match(_DIGEST_START, tail):
        login, name = _split_login(head, is_url=is_url)
        return login, f"{name}@{tail}"
    has_colon = ":" in head.partition("/")[0]
    if at and (is_url or "/" in tail or (has_colon and not re.search("^[^/:]*:[0-9]+/", head))):
        return head, tail
    return "", text


def _digest(text: str, digest: str) -> Digest:
    try:
        return Digest.parse(digest)
    except InvalidDigestError as error:
        raise _refusal(
            text,
            f"its digest {quote(digest)} is wrong: {error.why}",
            "write the digest as sha256: and 64 hex digits",
        ) from None


def _split_tag(text: str, rest: str) -> tuple[str, str]:
    """Name and tag of a reference without digest: the tag follows the last component."""
    start = rest.rfind("/") + 1
    last, colon, tag = rest[start:].partition(":")
    if last.startswith("[") and not start:
        raise _refusal(
            text, "a registry's address must be followed by a repository", f"write {quote(rest + '/NAME')}"
        )
    if colon:
        _check_tag(text, tag)
    return rest[:start] + last, tag


def _check_tag(text: str, tag: str) -> None:
    if not tag:
        raise _refusal(text, 'there is no tag after ":"', 'leave ":" out, or write a tag after it')
    if len(tag) > MAX_TAG:
        raise _refusal(
            text, f"its tag has {len(tag)} characters, at most {MAX_TAG} are allowed", "shorten the tag"
        )
    if re.fullmatch(_TAG, tag) is None:
        raise _refusal(
            text,
            f"its tag {quote(tag)} may hold A-Z, a-z, 0-9, _, . and - only, and must not start with . or -",
            "write another tag, such as v1",
        )


def _has_registry(name: str) -> bool:
    first, slash, _ = name.partition("/")
    return bool(slash) and (first == "localhost" or "." in first or ":" in first or first != first.lower())


def _split_registry(name: str) -> tuple[str, str]:
    first, rest = DEFAULT_REGISTRY, name
    if _has_registry(name):
        first, _, rest = name.partition("/")
    if first == _LEGACY_REGISTRY:
        first = DEFAULT_REGISTRY
    if first == DEFAULT_REGISTRY and "/" not in rest:
        rest = _OFFICIAL + rest
    return first, rest


def _check_registry(text: str, registry: str) -> None:
    if re.fullmatch(_REGISTRY, registry) is None:
        raise _refusal(
            text,
            f"its registry {quote(registry)} must be a host name or an address (IPv6 in brackets, without a "
            "zone), with :PORT or without",
            "write the registry as registry.example or registry.example:5000",
        )
    port = _port(registry)
    if port and not 0 < int(port[:6]) <= MAX_PORT:
        raise _refusal(
            text,
            f"the port {quote(port)} of its registry is none: ports go from 1 to {MAX_PORT}",
            "write the registry with its port, such as registry.example:5000, or without one",
        )


def _port(registry: str) -> str:
    """The digits of a registry's port, without zeros before others; "" where it has none."""
    port = registry.rpartition("]")[2].partition(":")[2]
    return port.lstrip("0") or "0" if port else ""


def _check_repository(text: str, name: str, repository: str) -> None:
    """`name` is registry and repository as they begin `text`; `repository` is what to check, completed."""
    if repository != repository.lower():
        start = len(name.partition("/")[0]) + 1 if _has_registry(name) else 0
        raise _refusal(
            text,
            f"its repository {quote(name[start:])} must be in lower case",
            f"write {quote(name[:start] + name[start:].lower() + text[len(name) :])}",
        )
    for component in repository.split("/"):
        if component:
            if re.fullmatch(_COMPONENT, component):
                continue
            why = f"its component {quote(component)} must be of a-z and 0-9, between them . _ __ or any -"
        else:
            why = 'its repository has nothing before or after a "/"'
        raise _refusal(text, why)
