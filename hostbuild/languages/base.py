"""What a language is to hostbuild: it looks at a project and gives values; it never acts on the store.

A language writes no archives, speaks to no registry and chooses no digests. `inspect` says what the
project is and names everything that its result depends on; the caller makes keys of that and decides
whether anything is to be built. The trees are then asked for in worker processes, so that all that they
need is in the job: small frozen values that pickle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from hostbuild.model import Entry, Event, Pairs
    from hostbuild.oci.platform import Platform

Kind = Literal["function", "program"]

#: argv, working directory, environment -> standard output. Raises ToolError and ToolMissingError.
Probe = Callable[[Sequence[str], str, Mapping[str, str]], str]


@dataclass(frozen=True)
class Project:
    """One directory to be looked at, and what was asked for.

    `root` is absolute and resolved. `package` is "" or a path as "./cmd/x" below it. `runtime` and
    `invoke` are func.yaml's, or "". `options` are the language's own flags (Go: `ldflags`, `tags`).
    `build_env` is func.yaml's build.buildEnvs. `environment` is what tools are started with, complete.
    `digest_file` gives a file's SHA-256 in hex; the caller remembers what it read. `memo` is what
    `Inspection.memo` held the last time on this machine (tools' versions), or empty. `probe` runs a small
    tool for its standard output; None stands for the ordinary one.
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


class Input(NamedTuple):
    """Something that the result depends on and that is not among the shipped files.

    `label` is a path relative to the project's root, or a name in words, never an absolute path;
    `digest` is a SHA-256 in hex, or "" for what must stay absent.
    """

    label: str
    digest: str


@dataclass(frozen=True)
class Inspection:
    """What a language found.

    `name` is what the binary is called. `recipe` holds JSON values: with the platform and the inputs,
    all that the bytes of the language's layers depend on; it is hashed, so no absolute path is in it and
    no secret. `tools` are absolute paths, `environment` is what tools are to be started with: neither is
    hashed. `trees` are further directories to ship: image path to absolute directory. `memo` is to be
    kept for the next `Project.memo`.
    """

    kind: Kind
    name: str
    language: str
    summary: str
    inputs: tuple[Input, ...]
    recipe: Mapping[str, Any]
    tools: Mapping[str, str]
    environment: Mapping[str, str] = field(repr=False)
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: Pairs = ()
    labels: Pairs = ()
    needs_certificates: bool = True
    default_base: str = "scratch"
    trees: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    memo: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class SharedJob:
    """The making of what all platforms share. `work` is a scratch directory of this build."""

    root: str
    work: str
    platforms: tuple[Platform, ...]
    recipe: Mapping[str, Any]
    tools: Mapping[str, str]
    environment: Mapping[str, str] = field(repr=False)
    parallelism: int = 1


@dataclass(frozen=True)
class PlatformJob:
    """The making of one platform's trees, out of an inspection's values.

    `work` is a scratch directory of this build, which the tasks of all platforms may share;
    `parallelism` is how many processors one tool may use.
    """

    root: str
    platform: Platform
    work: str
    recipe: Mapping[str, Any]
    tools: Mapping[str, str]
    environment: Mapping[str, str] = field(repr=False)
    parallelism: int = 1


class Tree(NamedTuple):
    """Entries that become one layer; `created_by` is the text of its history entry."""

    name: str
    entries: tuple[Entry, ...]
    created_by: str


class Finished(Protocol):
    """A tool that has ended: its exit status and all that it printed."""

    @property
    def returncode(self) -> int:
        """The exit status."""

    @property
    def output(self) -> str:
        """Standard output and error, as they came."""


class Context(Protocol):
    """The effects that a language may have while it makes trees."""

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

    def inspect(self, project: Project) -> Inspection:
        """Say what the project is. Starts no tool when `project.memo` knows the tools.

        Raises DetectionError, UsageError, ToolMissingError and what reading the source raises.
        """

    def shared_trees(self, job: SharedJob, context: Context) -> tuple[Tree, ...]:
        """The trees that all platforms share, lowest first."""

    def platform_trees(self, job: PlatformJob, context: Context) -> tuple[Tree, ...]:
        """One platform's trees, lowest first. Raises ToolError with the platform and the tool's output."""
