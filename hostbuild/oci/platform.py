"""Platforms: `os/architecture[/variant]` (image specification, image-index.md; Go's GOOS and GOARCH).

The spellings that are accepted and what they become are those of containerd's platforms: x86_64 is
amd64, aarch64 is arm64, armhf is arm/v7, armel is arm/v6; arm64/v8 is arm64, amd64/v1 is amd64, and arm
without a variant is arm/v7. Unlike there, a name that nobody knows is refused, so that a slip of the
finger does not become an image for a machine that does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from hostbuild.errors import InvalidPlatformError
from hostbuild.oci.fields import Fields, present
from hostbuild.oci.platform_names import ALIASES, KNOWN_ARCHITECTURES, KNOWN_OS, MACHINES, MEANT, VARIANTS
from hostbuild.oci.quoting import quote
from hostbuild.records import field, record

_FORM = "a platform is OS/ARCH or OS/ARCH/VARIANT"


@record(order=True, slots=True)
class Platform:
    """An operating system on an architecture, in the normalised spelling, whoever made it.

    Equality, order and hash do not see `extra`, the unknown fields of a JSON document.
    """

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        system = self.os.lower()
        architecture, variant = _normalise(self.architecture, self.variant)
        object.__setattr__(self, "os", "darwin" if system == "macos" else system)
        object.__setattr__(self, "architecture", architecture)
        object.__setattr__(self, "variant", variant)

    @classmethod
    def parse(cls, text: str) -> Platform:
        """The platform that `text` names: `os/arch`, `os/arch/variant`, or an architecture alone (of linux).

        Raises InvalidPlatformError for anything that Go and containerd do not know.
        """
        if not text:
            raise _refusal(text, "it is empty")
        if re.fullmatch(r"[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*", text) is None:
            raise _refusal(text, f"{_FORM}, of letters, digits, _, . and -")
        parts = text.lower().split("/")
        if len(parts) > 3:
            raise _refusal(text, "it has more than three parts", "/".join(parts[:3]))
        if len(parts) == 1:
            parts = _alone(text, parts[0])
        system = "darwin" if parts[0] == "macos" else parts[0]
        if system not in KNOWN_OS:
            raise _unknown_os(text, parts)
        if parts[1] not in KNOWN_ARCHITECTURES and parts[1] not in ALIASES:
            raise _unknown_architecture(text, system, parts[1])
        platform = cls(system, parts[1], parts[2] if len(parts) == 3 else "")
        if len(parts) == 3 and platform.variant != cls(system, platform.architecture, parts[2]).variant:
            raise _refusal(text, f"{quote(parts[1])} says the variant already", str(platform))
        allowed = VARIANTS.get(platform.architecture, ("",))
        if platform.variant not in allowed:
            raise _unknown_variant(text, platform, parts[1], allowed)
        return platform

    @classmethod
    def from_json(cls, document: object, where: str = "platform") -> Platform:
        """The `platform` of a descriptor. Raises InvalidDocumentError; unknown names are no error there."""
        return cls.from_fields(Fields(document, where), keep=True)

    @classmethod
    def from_fields(cls, fields: Fields, *, keep: bool = False) -> Platform:
        """The platform that an object names beside other things; with `keep` these are kept as `extra`."""
        return cls(
            os=fields.required_text("os"),
            architecture=fields.required_text("architecture"),
            variant=fields.text("variant"),
            os_version=fields.text("os.version"),
            os_features=fields.texts("os.features") or (),
            extra=fields.rest() if keep else {},
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object of a descriptor's `platform`; the same fields stand at the top of a config."""
        return {
            **self.extra,
            "os": self.os,
            "architecture": self.architecture,
            **present(
                **{
                    "variant": self.variant,
                    "os.version": self.os_version,
                    "os.features": list(self.os_features),
                }
            ),
        }

    def __str__(self) -> str:
        """`os/architecture[/variant]`, without the version of the operating system."""
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    @property
    def slug(self) -> str:
        """A name for files: `linux-arm-v7`; safe, and one platform's only, whatever stands in it."""
        parts = (self.os, self.architecture, self.variant, self.os_version)
        return "-".join(_safe(part) for part in parts if part)

    def matches(self, other: Platform) -> bool:
        """Whether both name one platform; versions of the operating system only count where both have one."""
        return (self.os, self.architecture, self.variant) == (
            other.os,
            other.architecture,
            other.variant,
        ) and (not self.os_version or not other.os_version or self.os_version == other.os_version)

    def runs(self, other: Platform) -> bool:
        """Whether a machine of this platform runs what was built for `other`.

        The same system and architecture, and no higher level of it: amd64/v3 runs amd64, arm/v7 runs
        arm/v6, never the other way round. The levels of arm64 are not in one line: v9 has all of v8.5,
        and not all of v8.9.
        """
        if (self.os, self.architecture) != (other.os, other.architecture):
            return False
        if self.architecture == "arm64":
            return other.variant in {"", self.variant}
        levels = VARIANTS.get(self.architecture, ())
        if self.variant in levels and other.variant in levels:
            return levels.index(other.variant) <= levels.index(self.variant)
        return self.variant == other.variant


def parse_platforms(texts: Iterable[str]) -> tuple[Platform, ...]:
    """All platforms of comma-separated texts, each once, in the order given. Raises InvalidPlatformError."""
    parts = [part.strip() for text in texts for part in text.split(",")]
    if not parts:
        raise InvalidPlatformError(
            "no platform is given", why="an image is for one at least", fix="name one, such as linux/amd64"
        )
    return tuple(dict.fromkeys(Platform.parse(part) for part in parts))


def require_linux(platform: Platform) -> None:
    """Raises InvalidPlatformError for a platform that no image can be built for."""
    if platform.os != "linux":
        raise InvalidPlatformError(
            f"cannot build for {quote(str(platform))}",
            why="images are built for linux only",
            fix=f"leave it out, or write linux/{platform.architecture}",
        )


def local_platform(system: str, machine: str) -> Platform:
    """The platform of `uname`'s system and machine names. Raises InvalidPlatformError where none is known."""
    name = machine.lower()
    return Platform.parse(f"{system.lower()}/{MACHINES.get(name, name)}")


def _normalise(architecture: str, variant: str) -> tuple[str, str]:
    architecture, variant = architecture.lower(), variant.lower()
    architecture, implied = ALIASES.get(architecture, (architecture, ""))
    variant = implied or variant
    if architecture in {"arm", "arm64", "amd64"} and variant[:1].isdigit():
        variant = f"v{variant}"
    if architecture == "arm":
        variant = variant or "v7"
    elif architecture == "arm64":
        variant = {"v8": "", "v8.0": "", "v9.0": "v9"}.get(variant, variant)
    elif architecture == "amd64" and variant == "v1":
        variant = ""
    return architecture, variant


def _safe(part: str) -> str:
    return re.sub(r"[^a-z0-9._]", lambda found: f"%{ord(found.group()):x}%", part)


def _refusal(text: str, why: str, *suggestions: str) -> InvalidPlatformError:
    written = " or ".join(suggestions)
    return InvalidPlatformError(
        f"{quote(text)} is not a platform",
        why=why,
        fix=f"write {written}" if written else "write linux/amd64",
    )


def _near(word: str, known: Iterable[str]) -> list[str]:
    if word in MEANT:
        return MEANT[word].split(", ")
    from difflib import get_close_matches

    return get_close_matches(word[:40], sorted(known), n=2, cutoff=0.6)


def _architectures() -> list[str]:
    return [*KNOWN_ARCHITECTURES, *ALIASES]


def _alone(text: str, word: str) -> list[str]:
    """What one word alone means: an architecture is one of linux, whatever machine this is."""
    if word in KNOWN_ARCHITECTURES or word in ALIASES:
        return ["linux", word]
    if word in KNOWN_OS or word == "macos":
        raise _refusal(text, "it names no architecture", f"{word}/amd64", f"{word}/arm64")
    near = _near(word, _architectures())
    raise _refusal(text, _FORM, *(f"linux/{name}" for name in near))


def _unknown_os(text: str, parts: list[str]) -> InvalidPlatformError:
    why = f"there is no operating system {quote(parts[0])}"
    if parts[0] in KNOWN_ARCHITECTURES or parts[0] in ALIASES:
        return _refusal(text, f"{why}, that is an architecture", f"linux/{'/'.join(parts[:2])}")
    near = _near(parts[0], KNOWN_OS) or ["linux"]
    return _refusal(text, why, *("/".join((name, *parts[1:])) for name in near))


def _unknown_architecture(text: str, system: str, word: str) -> InvalidPlatformError:
    near = _near(word, _architectures()) or ["amd64", "arm64"]
    why = f"there is no architecture {quote(word)}"
    return _refusal(text, why, *(f"{system}/{name}" for name in near))


def _unknown_variant(
    text: str, platform: Platform, word: str, allowed: tuple[str, ...]
) -> InvalidPlatformError:
    architecture = f"{platform.os}/{platform.architecture}"
    named = [variant for variant in allowed if variant]
    if not named:
        return _refusal(text, f"{platform.architecture} has no variants", architecture)
    why = f"{quote(word)} has no variant {quote(platform.variant)}; it has {', '.join(named)}"
    near = _near(platform.variant, named) or named[:1]
    return _refusal(text, why, *(f"{architecture}/{name}" for name in near))


DEFAULT_PLATFORMS = (
    Platform("linux", "amd64"),
    Platform("linux", "arm64"),
    Platform("linux", "arm", "v7"),
)
