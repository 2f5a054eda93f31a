"""Every setting of a build, once: its flag, variable and key in hostbuild.toml follow from this table.

`--ship-source` is HOSTBUILD_SHIP_SOURCE in the environment and `ship-source` in hostbuild.toml.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from hostbuild.errors import SettingsError

Kind = Literal["text", "list", "pairs", "words", "switch", "count", "seconds"]

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


class Setting(NamedTuple):
    """One setting. `commas` says that one text may hold several values; `negatable` that --no-NAME exists."""

    name: str
    kind: Kind
    help: str
    short: str = ""
    metavar: str = ""
    commas: bool = False
    negatable: bool = False
    group: str = "build"

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return "HOSTBUILD_" + self.name.upper().replace("-", "_")


SETTINGS: tuple[Setting, ...] = (
    Setting("tag", "list", "name the image REF; repeat for more names", "-t", "REF", group="image"),
    Setting(
        "platform",
        "list",
        "platforms to build, comma-separated or repeated, or `local` "
        "(default: linux/amd64,linux/arm64,linux/arm/v7)",
        metavar="OS/ARCH[/VARIANT]",
        commas=True,
        group="image",
    ),
    Setting(
        "output",
        "list",
        "also write the image: type=oci,tar=false,dest=PATH (a layout directory)",
        "-o",
        "SPEC",
        group="image",
    ),
    Setting(
        "env",
        "pairs",
        "set a variable in the image (K alone: take the value from here)",
        "-e",
        "K=V",
        group="image",
    ),
    Setting("label", "pairs", "add a label to the image's config", metavar="K=V", group="image"),
    Setting(
        "annotation",
        "list",
        "add an annotation; prefixes as buildx has them: index:, manifest:, manifest[OS/ARCH]:",
        metavar="K=V",
        group="image",
    ),
    Setting(
        "entrypoint",
        "words",
        "the image's entrypoint (a JSON array, or words)",
        metavar="WORDS",
        group="image",
    ),
    Setting("cmd", "words", "the image's command (a JSON array, or words)", metavar="WORDS", group="image"),
    Setting(
        "user",
        "text",
        "the user that the container runs as (default: 1000:1000)",
        metavar="UID[:GID]",
        group="image",
    ),
    Setting(
        "port",
        "list",
        "a port to expose (default: 8080/tcp)",
        metavar="PORT[/PROTO]",
        commas=True,
        group="image",
    ),
    Setting("copy", "list", "ship the file or directory SRC as DST", metavar="SRC:DST", group="image"),
    Setting(
        "ship-source",
        "switch",
        "ship the source under /func (functions always do)",
        negatable=True,
        group="image",
    ),
    Setting(
        "stamp",
        "switch",
        "record commit and version in the image (default: functions only)",
        negatable=True,
        group="image",
    ),
    Setting("package", "text", "the Go main package to build, as ./cmd/x", metavar="PATH"),
    Setting("ldflags", "text", "flags for the Go linker", metavar="FLAGS"),
    Setting("tags", "list", "Go build tags", metavar="TAG,…", commas=True),
    Setting("gitignore", "switch", "also leave out what .gitignore files name", negatable=True),
    Setting("jobs", "count", "how many platforms to build at once", "-j", "N"),
    Setting("no-cache", "switch", "make every layer anew"),
    Setting("cache-dir", "text", "where blobs are kept (default: $XDG_CACHE_HOME/hostbuild)", metavar="DIR"),
    Setting("build-dir", "text", "where builds are kept (default: DIR/.func)", metavar="DIR"),
    Setting("wait", "switch", "wait when another process makes this very build"),
    Setting("wait-timeout", "seconds", "wait at most so long (implies --wait)", metavar="SECONDS"),
    Setting("timeout", "seconds", "stop a build that takes longer", metavar="SECONDS"),
)

BY_NAME = {setting.name: setting for setting in SETTINGS}


def from_texts(setting: Setting, texts: Iterable[str], where: str) -> Any:
    """The value of `setting` out of texts as a flag (repeated) or a variable (lines) gives them.

    `where` names the place in the error. Raises SettingsError for a text that does not fit.
    """
    values = list(texts)
    match setting.kind:
        case "list":
            if setting.commas:
                values = [part.strip() for value in values for part in value.split(",")]
            return tuple(value for value in values if value)
        case "pairs":
            return tuple(values)
        case "words":
            return words(values[-1], where)
        case "switch":
            return _switch(values[-1], where)
        case "count":
            return _count(values[-1], where)
        case "seconds":
            return _seconds(values[-1], where)
        case _:
            return values[-1]


def words(text: str, where: str) -> tuple[str, ...]:
    """A command line: a JSON array of strings, or words as a shell splits them; empty gives ()."""
    if text.lstrip().startswith("["):
        import json

        try:
            parsed = json.loads(text)
        except ValueError as error:
            raise SettingsError(
                f"{where}: {text!r} is not a JSON array", why=str(error), fix='write it as ["a", "b"]'
            ) from None
        if not all(isinstance(word, str) for word in parsed):
            raise SettingsError(f"{where}: {text!r} holds something that is not a string")
        return tuple(parsed)
    import shlex

    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise SettingsError(f"{where}: cannot split {text!r} into words", why=str(error)) from None


def _switch(text: str, where: str) -> bool:
    lowered = text.strip().lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise SettingsError(f"{where}: {text!r} is neither true nor false", fix="write true or false")


def _count(text: str, where: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise SettingsError(f"{where}: {text!r} is not a whole number of at least 1")
    return number


def _seconds(text: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 10**9:
        raise SettingsError(f"{where}: {text!r} is not a number of seconds", fix="write it as 90 or 1.5")
    return number
