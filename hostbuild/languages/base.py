"""What a language is to hostbuild: it looks at a project and gives values; it never acts on the store.

A language writes no archives, speaks to no registry and chooses no digests. `inspect` says what the
project is and names everything that its result depends on; the caller makes keys of that and decides
whether anything is to be built. The trees are then asked for in worker processes, so that all that they
need is in the job: small frozen values that pickle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple, Protocol

from hostbuild.records import field, record

if TYPE_CHECKING:
    from hostbuild.model import Entry, Event, Pairs
    from hostbuild.oci.platform import Platform
    from hostbuild.wheels.wanted import WheelSource

Kind = Literal["function", "program"]

#: argv, working directory, environment -> standard output. Raises ToolError and ToolMissingError.
Probe = Callable[[Sequence[str], str, Mapping[str, str]], str]


class BaseFiles(Protocol):
    """The base image that the project is to stand on; it is looked into only when something is asked."""

    @property
    def label(self) -> str:
        """What people call it."""

    @property
    def digest(self) -> str:
        """Of all its platforms together; "" where there is no base."""

    def key(self, platform: Platform) -> str:
        """The digest of the platform's manifest. Raises BaseImageError, and the errors of registries."""

    def path(self, platform: Platform) -> str:
        """PATH of the platform's config. Raises as `key` does."""

    def layers(self, platform: Platform) -> tuple[Callable[[], BinaryIO], ...]:
        """Openers of the layers as they lie in registries, lowest first; they are fetched for it."""


class Workshop(Protocol):
    """The effects that a language may have while it looks at a project; what they give is kept for the
    next time on this machine.
    """

    @property
    def offline(self) -> bool:
        """Whether no network may be used."""

    def recall(self, kind: str, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
        """What `remember` or `keep` keeps under these words, or None."""

    def remember(
        self,
        kind: str,
        inputs: Mapping[str, Any],
        make: Callable[[], dict[str, Any]],
        *,
        anew: bool = False,
    ) -> dict[str, Any]:
        """The JSON object that `inputs` give: kept, else, and with `anew`, made once on this machine.

        It does not nest.
        """

    def keep(self, kind: str, inputs: Mapping[str, Any], make: Callable[[], str]) -> dict[str, Any]:
        """As `remember`, of a file whose path `make` gives: its `name`, `digest` and `size`; see `path`."""

    def fetch(self, sources: Iterable[WheelSource], credentials: Pairs = ()) -> None:
        """Bring files into the cache, verified. Raises the errors of servers, and WheelError."""

    def path(self, digest: str) -> str:
        """Where a file that was kept or fetched lies."""

    def scratch(self) -> AbstractContextManager[str]:
        """An empty directory, which is removed afterwards."""

    def run(self, argv: Sequence[str], *, cwd: str, env: Mapping[str, str]) -> Finished:
        """Run a tool quietly to its end in the complete environment `env`.

        Raises ToolError, with all that it printed as `detail`, and ToolMissingError.
        """

    def emit(self, event: Event) -> None:
        """Tell people."""


@record
class Project:
    """One directory to be looked at, and what was asked for.

    `root` is absolute and resolved. `package` is "" or a path as "./cmd/x" below it. `runtime` and
    `invoke` are func.yaml's, or "". `options` are the language's own flags (Go: `ldflags`, `tags`).
    `build_env` is func.yaml's build.buildEnvs. `environment` is what tools are started with, complete.
    `digest_file` gives a file's SHA-256 in hex; the caller remembers what it read. `memo` is what
    `Inspection.memo` held the last time on this machine (tools' versions), or empty. `probe` runs a small
    tool for its standard output; None stands for the ordinary one. `has_start` tells that the user says
    what is started. `base` and `workshop` are None where only the source is looked at.
    """

    root: str
    platforms: tuple[Platform, ...]
    environment: Mapping[str, str] = field(repr=False)
    digest_file: Callable[[str], str] = field(repr=False)
    package: str = ""
    runtime: str = ""
    invoke: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    build_env: Pairs = ()
    memo: Mapping[str, str] = field(default_factory=dict, repr=False)
    probe: Probe | None = field(default=None, repr=False)
    has_start: bool = False
    base: BaseFiles | None = field(default=None, repr=False)
    workshop: Workshop | None = field(default=None, repr=False)


class Input(NamedTuple):
    """Something that the result depends on and that is not among the shipped files.

    `label` is a path relative to the project's root, or a name in words, never an absolute path;
    `digest` is a SHA-256 in hex, or "" for what must stay absent.
    """

    label: str
    digest: str


class TreePlan(NamedTuple):
    """A tree that is to become a layer.

    `name` is its own among the language's; `recipe` holds JSON values: with the language, the inputs and, for
    a platform's own, the platform, all that its bytes depend on. It is hashed, so no absolute path is in it
    and no secret. `needs` are files that must be in the cache when the tree is made.
    """

    name: str
    recipe: Mapping[str, Any]
    inputs: tuple[Input, ...] = ()
    needs: tuple[WheelSource, ...] = ()


@record
class Inspection:
    """What a language found.

    `name` is what the binary is called. `recipe` holds JSON values that tell people why a build is another
    one. `shared` are the trees that all platforms share, `own` those of each platform in the order of
    `Project.platforms`; each lowest first. `tools` are absolute paths, `environment` is what tools are to be
    started with, `credentials` gives those for what the trees need: none of them is hashed. `search_paths`
    are variables that hold lists: the user's value comes before, the base's after. `is_light`: making the
    trees takes no tool, and less time than a process needs to start. `needs_home`: libraries write below the
    user's home directory. `leavings` are what tools leave in the
    source, which ships only where the user's ignore file says so: names, suffixes as `*.pyc`, directories by
    what they hold as `*/pyvenv.cfg`. `source_on_top` puts what ships above the language's layers. `trees`
    are further directories to ship: image path to absolute directory. `memo` is to be kept for the next
    `Project.memo`. `looked_at` is when the first of `inputs` was looked at (nanoseconds since the epoch),
    where tools read them by themselves: what they make is then kept only if all is as it was. Else it is 0.
    """

    kind: Kind
    name: str
    language: str
    summary: str
    inputs: tuple[Input, ...]
    recipe: Mapping[str, Any]
    own: tuple[tuple[TreePlan, ...], ...]
    tools: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    shared: tuple[TreePlan, ...] = ()
    credentials: Callable[[], Pairs] = field(default=tuple, repr=False)
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: Pairs = ()
    search_paths: Pairs = ()
    labels: Pairs = ()
    needs_certificates: bool = True
    is_light: bool = False
    needs_home: bool = False
    ships_source: bool = False
    leavings: tuple[str, ...] = ()
    source_on_top: bool = False
    trees: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    memo: Mapping[str, str] = field(default_factory=dict, repr=False)
    looked_at: int = 0


@record
class TreeJob:
    """The making of one tree, out of an inspection's values: the plan `tree` with its `recipe`.

    `work` is a scratch directory of this build, which all its jobs may share; `parallelism` is how many
    processors one tool may use. `inputs` and `looked_at` are the inspection's where tools read the source.
    """

    tree: str
    root: str
    work: str
    recipe: Mapping[str, Any]
    tools: Mapping[str, str]
    environment: Mapping[str, str] = field(repr=False)
    parallelism: int = 1
    inputs: tuple[Input, ...] = ()
    looked_at: int = 0


@record
class PlatformJob(TreeJob):
    """The making of a tree that is one platform's own."""

    platform: Platform = field(kw_only=True)


class Tree(NamedTuple):
    """Entries that become one layer, none where there are none; `created_by` is its history entry's text."""

    name: str
    entries: tuple[Entry, ...]
    created_by: str


class Finding(NamedTuple):
    """Something that would not work in the image: on which platform, in which package, and why."""

    platform: str
    subject: str
    message: str


class Report(NamedTuple):
    """What a language found out about a project's image before it is built.

    `summary` and `lines` are for people, `document` holds the same as JSON values.
    """

    summary: str
    lines: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    document: Mapping[str, Any] = {}


class Finished(Protocol):
    """A tool that has ended: its exit status and all that it printed."""

    @property
    def returncode(self) -> int:
        """The exit status."""

    @property
    def output(self) -> str:
        """Standard output and error, as they came."""


class Context(Protocol):
    """The effects that a language may have while it makes a tree."""

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str],
        on_line: Callable[[str], None] | None = None,
    ) -> Finished:
        """Run a tool to its end in the complete environment `env`; each line goes to `on_line`.

        Raises ToolError, with all that it printed as `detail`, where it fails, and ToolMissingError where it
        cannot be started.
        """

    def emit(self, event: Event) -> None:
        """Tell people and the log."""

    def path(self, digest: str) -> str:
        """Where a file lies that the tree's plan needs, by its digest."""


class Language(Protocol):
    """One language. An entry point of the group `hostbuild.languages` names an object of this kind."""

    @property
    def name(self) -> str:
        """The word that people use."""

    @property
    def runtimes(self) -> tuple[str, ...]:
        """func.yaml's words for it."""

    def claims(self, root: str) -> bool:
        """Whether the directory looks like this language's: a few file names, nothing is read."""

    def claims_from_above(self, root: str) -> bool:
        """Whether what lies above `root` makes it this language's; asked when nobody claims the directory."""

    def default_base(self, project: Project) -> str:
        """The base image where none is named, "scratch" for none. Raises what reading the source raises."""

    def inspect(self, project: Project) -> Inspection:
        """Say what the project is. Starts no tool when it is known what tools would say.

        Raises DetectionError, UsageError, ToolMissingError and what reading the source raises.
        """

    def check(self, project: Project) -> Report:
        """What the image would lack, platform by platform. Raises what `inspect` raises, but that."""

    def shared_tree(self, job: TreeJob, context: Context) -> Tree:
        """A tree that all platforms share."""

    def platform_tree(self, job: PlatformJob, context: Context) -> Tree:
        """One platform's tree. Raises ToolError with the platform and the tool's output."""
