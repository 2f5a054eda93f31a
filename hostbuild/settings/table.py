"""Every setting of a build, once: its flag, variable and key in hostbuild.toml follow from this table.

`--ship-source` is HOSTBUILD_SHIP_SOURCE in the environment and `ship-source` in hostbuild.toml.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

from hostbuild.errors import SettingsError

Kind = Literal["text", "list", "pairs", "words", "switch", "count", "seconds", "size", "choice"]

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


class Setting(NamedTuple):
    """One setting.

    `commas` says that one text may hold several values; `negatable` that --help shows --no-NAME, which every
    switch takes. `choices` are the values of a choice, `bare` what the flag means without one. `aliases` are
    other names of the same setting, `opposite` the name of a switch that means the contrary. `path` says
    that in a file it is relative to that file; `in_files` that it may stand in one at all; `secret` that
    no message may quote its value.
    """

    name: str
    kind: Kind
    help: str
    short: str = ""
    metavar: str = ""
    commas: bool = False
    negatable: bool = False
    group: str = "build"
    choices: tuple[str, ...] = ()
    bare: str = ""
    aliases: tuple[str, ...] = ()
    opposite: str = ""
    path: bool = False
    in_files: bool = True
    secret: bool = False

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return variable_of(self.name)

    @property
    def names(self) -> tuple[str, ...]:
        """All its names, its own first; the opposite is not one of them."""
        return (self.name, *self.aliases)


def variable_of(name: str) -> str:
    """The environment variable for a setting's name: HOSTBUILD_SHIP_SOURCE."""
    return "HOSTBUILD_" + name.upper().replace("-", "_")


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
        "also write or push the image, as buildx has it: type=oci|docker|registry|image with dest=PATH, "
        "tar=false, push=true, push-by-digest=true, name=REF, compression=NAME; dest=- is standard output",
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
        "compression",
        "choice",
        "how layers are compressed: gzip (default), gzip:fast (its bytes depend on the CPU's architecture; "
        "needs hostbuild[fast]), zstd or uncompressed",
        metavar="NAME",
        choices=("gzip", "gzip:fast", "zstd", "uncompressed"),
        group="image",
    ),
    Setting(
        "compression-level",
        "count",
        "how hard (default: 1): gzip 1 to 12, gzip:fast 1 or 2, zstd 1 to 22",
        metavar="N",
        group="image",
    ),
    Setting(
        "stamp",
        "switch",
        "record commit and version in the image (default: functions only)",
        negatable=True,
        group="image",
    ),
    Setting(
        "base",
        "text",
        "build on this image: REF, oci:DIR, oci-archive:FILE, docker-archive:FILE or scratch",
        metavar="IMAGE",
        aliases=("base-image",),
        group="base",
    ),
    Setting(
        "pull",
        "choice",
        "ask for the base's tag: always (also what the bare flag means; default), missing or never",
        metavar="=POLICY",
        choices=("always", "missing", "never"),
        bare="always",
        group="base",
    ),
    Setting("lock", "switch", "record the base's digest in hostbuild.lock", group="base"),
    Setting(
        "locked", "switch", "take the base's digest from hostbuild.lock, and from nowhere else", group="base"
    ),
    Setting(
        "certificates",
        "switch",
        "ship certificate authorities (default: on scratch only)",
        negatable=True,
        group="base",
    ),
    Setting("push", "switch", "push the image to its tags", negatable=True, group="registries"),
    Setting(
        "offline", "switch", "ask no server for anything; what is not here is an error", group="registries"
    ),
    Setting(
        "tls-verify",
        "switch",
        "accept trusted certificates only (default); --tls-verify=false, or --registry-insecure, "
        "also allows plain HTTP",
        negatable=True,
        opposite="registry-insecure",
        group="registries",
    ),
    Setting(
        "ca-file",
        "text",
        "trust the certificate authorities in FILE too",
        metavar="FILE",
        path=True,
        group="registries",
    ),
    Setting(
        "authfile",
        "text",
        "take stored logins from FILE alone (default: where docker and podman keep them)",
        metavar="FILE",
        path=True,
        group="registries",
    ),
    Setting(
        "creds",
        "list",
        "a login; other users of this machine can see flags, HOSTBUILD_CREDS they cannot; "
        "without REGISTRY: the first tag's",
        metavar="[REGISTRY=]USER:PASSWORD",
        in_files=False,
        secret=True,
        group="registries",
    ),
    Setting(
        "registry-mirror",
        "list",
        "pull what is in REGISTRY from HOST, where it is there",
        metavar="REGISTRY=HOST[/PREFIX]",
        group="registries",
    ),
    Setting(
        "retry-time",
        "seconds",
        "try one request again for so long (default: 120)",
        metavar="SECONDS",
        group="registries",
    ),
    Setting(
        "package",
        "text",
        "the Go main package to build, as ./cmd/x; the Python package to start, as shop.web",
        metavar="PACKAGE",
    ),
    Setting("ldflags", "text", "flags for the Go linker", metavar="FLAGS"),
    Setting("tags", "list", "Go build tags", metavar="TAG,…", commas=True),
    Setting("extra", "list", "Python: also install this optional group", metavar="NAME,…", commas=True),
    Setting("group", "list", "Python: also install this dependency group", metavar="NAME,…", commas=True),
    Setting(
        "requirements",
        "list",
        "Python: install what FILE says, a requirements file or a lock, and nothing else",
        metavar="FILE",
    ),
    Setting(
        "compile",
        "switch",
        "Python: also ship the dependencies' bytecode, made by a Python of the base's minor version",
    ),
    Setting("gitignore", "switch", "also leave out what .gitignore files name", negatable=True),
    Setting(
        "split",
        "switch",
        "keep large data apart from small source, in a few layers (default; from 32 MiB on)",
        negatable=True,
    ),
    Setting("jobs", "count", "how many platforms to build at once", "-j", "N"),
    Setting("no-cache", "switch", "make every layer anew"),
    Setting(
        "cache-dir",
        "text",
        "where blobs are kept (default: $XDG_CACHE_HOME/hostbuild)",
        metavar="DIR",
        path=True,
    ),
    Setting(
        "cache-max-used-space",
        "size",
        "what was not used for longest leaves a cache that is larger (default: 20G; none: no bound)",
        metavar="SIZE",
    ),
    Setting(
        "cache-min-free-space",
        "size",
        "or a cache whose disk has less free (default: 1G, or a twentieth of a small disk; none: no bound)",
        metavar="SIZE",
    ),
    Setting("build-dir", "text", "where builds are kept (default: DIR/.func)", metavar="DIR", path=True),
    Setting("wait", "switch", "wait when another process makes this very build", in_files=False),
    Setting(
        "wait-timeout", "seconds", "wait at most so long (implies --wait)", metavar="SECONDS", in_files=False
    ),
    Setting("timeout", "seconds", "stop a build that takes longer (0: never)", metavar="SECONDS"),
)

BY_NAME = {setting.name: setting for setting in SETTINGS}
#: Also by their aliases.
BY_ANY_NAME = {name: setting for setting in SETTINGS for name in setting.names}
#: Switches by the name that means their contrary.
BY_OPPOSITE = {setting.opposite: setting for setting in SETTINGS if setting.opposite}

#: The settings of every command that speaks to a registry.
ACCESS = tuple(
    BY_NAME[name] for name in ("tls-verify", "ca-file", "authfile", "creds", "registry-mirror", "retry-time")
)

#: The settings of the cache.
CACHE = tuple(BY_NAME[name] for name in ("cache-dir", "cache-max-used-space", "cache-min-free-space"))


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
        case "choice":
            return _choice(values[-1], setting.choices, where)
        case "text":
            return values[-1]
        case kind:
            return _PARSERS[kind](values[-1], where)


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


def parse_switch(text: str, where: str) -> bool:
    """True or false, however it is spelled. Raises SettingsError."""
    lowered = text.strip().lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise SettingsError(f"{where}: {text!r} is neither true nor false", fix="write true or false")


def _choice(text: str, choices: tuple[str, ...], where: str) -> str:
    if text.strip() not in choices:
        raise SettingsError(
            f"{where}: {text!r} is not a choice", fix=f"write {', '.join(choices[:-1])} or {choices[-1]}"
        )
    return text.strip()


def _count(text: str, where: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise SettingsError(f"{where}: {text!r} is not a whole number of at least 1")
    return number


def size_or_none(text: str, where: str) -> int:
    """Bytes of a size as `parse_size` reads it; 0 for `none`. Raises SettingsError."""
    from hostbuild.settings.quantities import parse_size

    return 0 if text.strip().lower() == "none" else parse_size(text.strip(), where)


def _seconds(text: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 10**9:
        raise SettingsError(f"{where}: {text!r} is not a number of seconds", fix="write it as 90 or 1.5")
    return number


_PARSERS: dict[Kind, Callable[[str, str], Any]] = {
    "words": words,
    "switch": parse_switch,
    "count": _count,
    "seconds": _seconds,
    "size": size_or_none,
}
