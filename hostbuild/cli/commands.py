"""The commands and their flags; those of `build` come from the table of settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hostbuild.cli import cache_flags
from hostbuild.cli.plain import HIDDEN, NEGATABLE, Flags
from hostbuild.settings.table import ACCESS, BY_NAME, SETTINGS, Setting

PROGRESS = ("auto", "plain", "tty", "quiet", "none", "rawjson")

_BUILD_EPILOG = """\
Standard output is one line, NAME@sha256:DIGEST; everything else goes to standard error (with dest=- the tar
goes to standard output, and the line to standard error).
The image is in DIR/.func/builds/last/oci, an OCI image layout. Settings can also stand in
hostbuild.toml, in [tool.hostbuild] of pyproject.toml, or in HOSTBUILD_* variables.
Exit codes: 0 done, 1 failed, 2 wrong usage, 75 try again later, 129, 130 and 143 interrupted."""

#: Titles of the groups of settings, in the order of --help.
_GROUPS = {"image": "the image", "base": "the base image", "build": "the build", "registries": "registries"}


class Command(NamedTuple):
    """One command: its words, what --help says, its flags, and where it is run.

    `runner` is module:function, imported when the command runs. `secret_words` says that a word too many may
    be a password, and is not quoted.
    """

    name: str
    summary: str
    description: str
    usage: str
    fill: Callable[[Any], None]
    runner: str
    settings: tuple[Setting, ...] = ()
    epilog: str = ""
    secret_words: bool = False

    @property
    def flag_names(self) -> Sequence[str]:
        """Every flag that this command takes."""
        flags = Flags(self.fill).by_name
        shown = (name for name, flag in flags.items() if name.startswith("--") and flag.is_shown)
        opposites = (f"--{setting.opposite}" for setting in self.settings if setting.opposite)
        return sorted({"--help", *shown, *opposites})


def find(argv: Sequence[str]) -> tuple[Command | None, list[str]]:
    """The command that the first words name, and the words after it; None where they name none."""
    for command in COMMANDS:
        words = command.name.split()
        if list(argv[: len(words)]) == words:
            return command, list(argv[len(words) :])
    return None, list(argv)


def _build(parser: Any) -> None:
    _directory(parser)
    groups = {name: parser.add_argument_group(title) for name, title in _GROUPS.items()}
    for setting in SETTINGS:
        _add(groups[setting.group], setting)
    results = parser.add_argument_group("what is left behind")
    results.add_argument(
        "--metadata-file", metavar="FILE", help="write what was built as JSON, with buildx's keys"
    )
    _add_digest_files(results)
    results.add_argument(
        "--iidfile",
        metavar="FILE",
        help="write the image's ID: of one platform its config's digest, else the index's",
    )
    results.add_argument(
        "--dry-run", action="store_true", help="make nothing; tell what would be made, and why"
    )
    results.add_argument("--json", action="store_true", help="with --dry-run: as one JSON document")
    _add_shown(parser)


def _check(parser: Any) -> None:
    _directory(parser)
    group = parser.add_argument_group("what is checked")
    for setting in CHECK:
        if setting not in ACCESS:
            _add(group, setting)
    _add_access(parser, ACCESS)
    parser.add_argument("--json", action="store_true", help="as one JSON document")
    _add_shown(parser)


def _push(parser: Any) -> None:
    parser.add_argument(
        "place",
        metavar="PLACE",
        help="a source that has builds, an image layout, or an archive of one (also as oci:DIR, "
        "oci-archive:FILE, docker-archive:FILE)",
    )
    parser.add_argument("references", nargs="+", metavar="REF", help="a name to push to")
    parser.add_argument(
        "--push-by-digest", action="store_true", help="push to REF's repository and give it no tag"
    )
    _add_access(parser, ACCESS)
    _add_digest_files(parser)
    _add_shown(parser)


def _index_create(parser: Any) -> None:
    parser.add_argument(
        "words",
        nargs="+",
        metavar="REF",
        help="the index to make, then the images that go into it; with -t all are images",
    )
    parser.add_argument(
        "-t",
        "--tag",
        dest="names",
        action="append",
        metavar="REF",
        help="name the index; repeat for more names",
    )
    parser.add_argument(
        "--annotation",
        dest="annotations",
        action="append",
        default=[],
        metavar="index:K=V",
        help="add an annotation to the index",
    )
    parser.add_argument("--dry-run", action="store_true", help="push nothing; print the index")
    _add_access(parser, ACCESS)
    _add_digest_files(parser)
    _add_shown(parser)


def _login(parser: Any) -> None:
    _add_registry(parser)
    parser.add_argument("-u", "--username", metavar="USER", help="the user")
    parser.add_argument(
        "-p", "--password", metavar="PASSWORD", help="the password; other users of this machine can see it"
    )
    parser.add_argument(
        "--password-stdin", action="store_true", help="read the password from standard input, to its end"
    )
    _add_access(parser, LOGIN)
    _add_verbosity(parser)


def _logout(parser: Any) -> None:
    _add_registry(parser)
    _add_access(parser, LOGOUT)
    _add_verbosity(parser)


def _status(parser: Any) -> None:
    _add_places(parser)
    parser.add_argument("--json", action="store_true", help="as one JSON document")


def _clean(parser: Any) -> None:
    _add_places(parser)
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    parser.add_argument(
        "--keep",
        type=int,
        default=None,
        metavar="N",
        help="complete builds to keep (default: 5, with --older-than 0; the last one, and those used in the "
        "last minute, stay)",
    )
    parser.add_argument(
        "--older-than", metavar="AGE", help="remove complete builds that were not used for so long: 30d, 12h"
    )
    parser.add_argument(
        "--all", action="store_true", help="remove every complete build that nobody uses, the last one too"
    )
    parser.add_argument("--json", action="store_true", help="as one JSON document")


def _add_places(parser: Any) -> None:
    parser.add_argument(
        "directory", nargs="?", default=None, metavar="DIR", help="the source (default: here)"
    )
    parser.add_argument("--under", metavar="TREE", help="all build directories below TREE, instead of DIR's")
    _add_build_dir(parser)


def _cache(fill: Callable[[Any], None]) -> Callable[[Any], None]:
    """The flags that `fill` adds, after those of every command of the cache."""

    def add(parser: Any) -> None:
        _add(parser, BY_NAME["cache-dir"])
        fill(parser)
        _add_verbosity(parser)

    return add


def _add(group: Any, setting: Setting) -> None:
    names = [setting.short] if setting.short else []
    names += [f"--{name}" for name in setting.names]
    if setting.kind == "switch":
        own = f"--{setting.name}"
        if setting.negatable:
            group.add_argument(own, dest=setting.name, action=NEGATABLE, default=None, help=setting.help)
            return
        group.add_argument(own, dest=setting.name, action="store_true", default=None, help=setting.help)
        # What a file or a variable says can be taken back: --wait=false is --no-wait.
        group.add_argument(f"--no-{setting.name}", dest=setting.name, action="store_false", help=HIDDEN)
        return
    group.add_argument(
        *names,
        dest=setting.name,
        action="append",
        nargs="?" if setting.bare else None,  # for --help: without its "=" it never gets here
        metavar=setting.metavar or None,
        help=setting.help,
    )


def _add_access(parser: Any, settings: Sequence[Setting]) -> None:
    group = parser.add_argument_group("registries")
    for setting in settings:
        _add(group, setting)


def _add_registry(parser: Any) -> None:
    parser.add_argument(
        "registry",
        nargs="?",
        default="docker.io",
        metavar="REGISTRY",
        help="the registry (default: docker.io)",
    )


def _add_digest_files(parser: Any) -> None:
    parser.add_argument("--digestfile", metavar="FILE", help="write the digest of the image's index")


def _add_shown(parser: Any) -> None:
    group = parser.add_argument_group("what is shown")
    _add_verbosity(group)
    group.add_argument(
        "--progress",
        choices=PROGRESS,
        default=None,
        metavar="HOW",
        help="how progress is shown: auto (default), plain, tty, quiet, none, or rawjson (JSON lines)",
    )


def _add_verbosity(parser: Any) -> None:
    parser.add_argument("-v", "--verbose", action="store_true", help="show the log as it is written")
    parser.add_argument("-q", "--quiet", action="store_true", help="show errors only")


def _directory(parser: Any) -> None:
    parser.add_argument("directory", nargs="?", default=".", metavar="DIR", help="the source (default: here)")


def _add_build_dir(parser: Any) -> None:
    parser.add_argument(
        "--build-dir", metavar="DIR", default=None, help="where builds are kept (default: DIR/.func)"
    )
    _add_verbosity(parser)


#: The settings of `login` and `logout`: the login itself is not one, and nothing is pulled.
LOGIN = tuple(BY_NAME[name] for name in ("tls-verify", "ca-file", "authfile", "retry-time"))
LOGOUT = (BY_NAME["authfile"],)
CACHE_DIR = (BY_NAME["cache-dir"],)

#: What decides which wheels an image gets, and what they stand on.
CHECK = (
    *(
        BY_NAME[name]
        for name in (
            "platform",
            "base",
            "pull",
            "locked",
            "offline",
            "package",
            "entrypoint",
            "cmd",
            "extra",
            "group",
            "requirements",
            "no-cache",
            "cache-dir",
        )
    ),
    *ACCESS,
)

COMMANDS = (
    Command(
        "build",
        "build an image from a source directory",
        "Build an image from the source in DIR.",
        "[flags] [DIR]",
        _build,
        "hostbuild.cli.build_command:run_build",
        SETTINGS,
        _BUILD_EPILOG,
    ),
    Command(
        "check",
        "tell what an image would lack, before building",
        "Tell which wheels each platform gets, which are missing, and which libraries they need that the\n"
        "base image lacks. Nothing is built. Exit code 1 when something would not work.",
        "[flags] [DIR]",
        _check,
        "hostbuild.cli.check_command:run_check",
        CHECK,
    ),
    Command(
        "push",
        "push an image that is here",
        "Push, without building, the last image of a source directory, an image layout or an archive.\n"
        "Standard output is one line, the first REF's NAME@sha256:DIGEST.",
        "[flags] PLACE REF…",
        _push,
        "hostbuild.cli.push_command:run_push",
        ACCESS,
    ),
    Command(
        "index create",
        "join images of one platform each into one index",
        "Join images that registries have into one image index, and push it.\n"
        "Standard output is one line, NAME@sha256:DIGEST.",
        "[flags] TARGET SOURCE…  (or -t TARGET… SOURCE…)",
        _index_create,
        "hostbuild.cli.index_command:run_index_create",
        ACCESS,
    ),
    Command(
        "login",
        "store a login for a registry, where docker keeps it",
        "Ask the registry whether the login is right, and store it where docker would.",
        "[flags] [REGISTRY]",
        _login,
        "hostbuild.cli.login_command:run_login",
        LOGIN,
        secret_words=True,
    ),
    Command(
        "logout",
        "remove a registry's stored login",
        "Remove what is stored for the registry.",
        "[flags] [REGISTRY]",
        _logout,
        "hostbuild.cli.login_command:run_logout",
        LOGOUT,
    ),
    Command(
        "status",
        "show running, complete and stale builds",
        "Show the builds of the source in DIR: running, complete, and what dead builders left.",
        "[flags] [DIR]",
        _status,
        "hostbuild.cli.status_command:run_status",
    ),
    Command(
        "clean",
        "remove what dead builders left, and old builds",
        "Remove what dead builders of the source in DIR left, and older complete builds.\n"
        "A running build, and the last complete one, are never touched.",
        "[flags] [DIR]",
        _clean,
        "hostbuild.cli.clean_command:run_clean",
    ),
    *(
        Command(
            f"cache {name}",
            summary,
            description,
            "[flags]",
            _cache(fill),
            f"hostbuild.cli.cache_command:run_{name}",
            CACHE_DIR,
        )
        for name, summary, description, fill in cache_flags.COMMANDS
    ),
)
