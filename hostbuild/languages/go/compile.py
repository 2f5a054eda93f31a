"""Running go build for one platform: in the worker, in the user's tree, writing only into the stage."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from hostbuild.errors import ToolError
from hostbuild.languages.base import Tree
from hostbuild.languages.go import scaffold, vendored, workspace
from hostbuild.languages.go.toolchain import platform_environment
from hostbuild.model import USER_GID, USER_UID, Entry, Event
from hostbuild.records import field, record

if TYPE_CHECKING:
    from hostbuild.languages.base import Context, PlatformJob

#: What the go command says where a staged go.mod or go.sum does not hold all that it must.
_INCOMPLETE = re.compile(r"go: updates to go\.(?:mod|sum|work\.sum) needed|missing go\.sum entry")
_FLAGS = ("-trimpath", "-buildvcs=false")


@record
class _Build:
    """One run of go build, ready to go; `complete` collects what a first run found missing."""

    package: str
    flags: tuple[str, ...]
    complete: Callable[[], None] | None = field(default=None, repr=False)


def platform_tree(job: PlatformJob, context: Context) -> Tree:
    """One executable, mode 0755: a function's /func/f, of the application's user as the data
    is, or a program's /app/NAME, of root.

    Raises ToolError with the platform and, as `detail`, what the go command printed.
    """
    recipe = job.recipe
    work = os.path.join(job.work, job.platform.slug)
    stage, output = os.path.join(work, "stage"), os.path.join(work, "bin")
    os.makedirs(stage, exist_ok=True)
    os.makedirs(output, exist_ok=True)
    binary = os.path.join(output, os.path.basename(str(recipe["binary"])))
    run = _Go(job, context)
    make = _function if recipe["kind"] == "function" else _program
    run.build(make(recipe, run, stage), binary)
    return Tree(job.tree, _entries(recipe, binary), _created_by(recipe))


class _Go:
    """The go command of one job: its directory, its environment, its output."""

    def __init__(self, job: PlatformJob, context: Context) -> None:
        recipe = job.recipe
        self.cwd = os.path.normpath(os.path.join(job.root, str(recipe["package"])))
        self.module = os.path.normpath(os.path.join(job.root, str(recipe["module"])))
        work = str(recipe["workspace"])
        self.go_work = os.path.normpath(os.path.join(job.root, work)) if work else ""
        self._job = job
        self._context = context
        self._environment = {
            "GOTMPDIR": os.path.join(job.work, job.platform.slug),  # goes with the build if it is killed
            **platform_environment(job.environment, job.platform, cwd=self.cwd),
        }

    def build(self, build: _Build, binary: str) -> None:
        """Run go build; where the staged files turn out incomplete, complete them and run it again."""
        recipe = self._job.recipe
        argv = [self._job.tools["go"], "build", *_FLAGS, f"-p={max(1, self._job.parallelism)}", *build.flags]
        argv += [f"-{name}={recipe[name]}" for name in ("ldflags", "tags") if recipe[name]]
        argv += ["-o", binary, build.package]
        if build.complete is None:
            self._run(argv)
            return
        held: list[str] = []
        try:
            self._run(argv, on_line=lambda line: self._progress(line, held))
        except ToolError as error:
            if not _INCOMPLETE.search(error.detail):
                self._say_all(held)
                raise
            build.complete()
            self._run(argv)
        else:
            self._say_all(held)

    def check(self, argv: Sequence[str], **variables: str) -> None:
        """Run another go command whose ordinary output is of no interest."""
        held: list[str] = []
        try:
            self._run(
                [self._job.tools["go"], *argv], on_line=lambda line: self._progress(line, held), **variables
            )
        except ToolError:
            self._say_all(held)
            raise

    def _run(
        self, argv: Sequence[str], *, on_line: Callable[[str], None] | None = None, **variables: str
    ) -> None:
        platform = str(self._job.platform)
        try:
            self._context.run(
                argv, cwd=self.cwd, env={**self._environment, **variables}, on_line=on_line or self._say
            )
        except ToolError as error:
            what = f"go {argv[1]} failed for {platform}"
            why, fix = explain(error)
            raise ToolError(
                what, why=why, fix=fix, detail=error.detail, platform=platform, **error.extra
            ) from error

    def _progress(self, line: str, held: list[str]) -> None:
        """Downloads are news; what may be a complaint about our own staged files waits."""
        if line.startswith("go: downloading "):
            self._say(line)
        else:
            held.append(line)

    def _say(self, line: str) -> None:
        self._context.emit(Event("output", line, str(self._job.platform)))

    def _say_all(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._say(line)


def _program(recipe: Mapping[str, Any], run: _Go, stage: str) -> _Build:
    flags = _mod_flag(recipe)
    if not run.go_work or recipe["vendor"]:
        return _Build(".", flags)
    sums = _stage_sums(run, stage)
    overlay = os.path.join(stage, "overlay.json")
    scaffold.write_overlay(overlay, {workspace.sum_path(run.go_work): sums})
    text = workspace.absolute(scaffold.read_text(run.go_work), os.path.dirname(run.go_work))
    copy = scaffold.write_text(stage, "go.work", text)
    command = ["list", *flags, *_tags(recipe), "-deps", "."]
    return _Build(".", (*flags, f"-overlay={overlay}"), lambda: run.check(command, GOWORK=copy))


def _function(recipe: Mapping[str, Any], run: _Go, stage: str) -> _Build:
    wrap = recipe["scaffold"]
    name = scaffold.directory_name(run.cwd)
    main = scaffold.main_source(wrap["import"], instanced=wrap["instanced"], invoke=wrap["invoke"])
    replace = {os.path.join(run.cwd, name, "main.go"): scaffold.write_text(stage, "main.go", main)}
    modules = vendored.read_vendored(run.module, wrap["invoke"]) if recipe["vendor"] else None
    go_mod = os.path.join(run.module, "go.mod")
    text = scaffold.merge_go_mod(scaffold.read_text(go_mod), modules)
    staged_mod = scaffold.write_text(stage, "go.mod", text)
    sums = scaffold.merge_go_sum(scaffold.read_text(os.path.join(run.module, "go.sum")))
    staged_sum = scaffold.write_text(stage, "go.sum", sums)
    overlay = os.path.join(stage, "overlay.json")
    package = f"./{name}"
    if run.go_work:
        replace[go_mod] = staged_mod
        replace[os.path.join(run.module, "go.sum")] = staged_sum
        return _workspace_function(recipe, run, stage, replace, package)
    for number, module in enumerate((modules or {}).values()):
        if module.used:
            place = os.path.join(run.module, "vendor", module.path, "go.mod")
            replace[place] = scaffold.write_text(stage, f"vendor{number}.mod", module.go_mod())
    scaffold.write_overlay(overlay, replace)
    staged = (f"-modfile={staged_mod}", f"-overlay={overlay}")

    def complete() -> None:
        # First the user's package alone: an import that nothing provides is the user's to add, and must not
        # be looked up, for then the newest version of that day would be built.
        mode = "readonly" if modules is None else "vendor"
        run.check(["list", f"-mod={mode}", *_tags(recipe), "-deps", "."])
        run.check(["list", "-mod=mod", *staged, *_tags(recipe), "-deps", package])

    # -mod=readonly is the default, and the complaints of the default are the helpful ones.
    default = modules is None and not vendored.is_vendored(run.module) and not recipe["mod"]
    return _Build(package, (*(() if default else ("-mod=readonly",)), *staged), complete)


def _workspace_function(
    recipe: Mapping[str, Any], run: _Go, stage: str, replace: dict[str, str], package: str
) -> _Build:
    text = scaffold.read_text(run.go_work)
    higher = scaffold.higher_go_work(text)
    if higher:
        text = workspace.with_go(text, higher)
        replace[run.go_work] = scaffold.write_text(stage, "go.work.overlay", text)
    replace[workspace.sum_path(run.go_work)] = _stage_sums(run, stage)
    overlay = os.path.join(stage, "overlay.json")
    scaffold.write_overlay(overlay, replace)
    copy = scaffold.write_text(stage, "go.work", workspace.absolute(text, os.path.dirname(run.go_work)))
    flags = ("-mod=readonly", f"-overlay={overlay}")
    command = ["list", *flags, *_tags(recipe), "-deps", package]
    return _Build(package, flags, lambda: run.check(command, GOWORK=copy))


def _stage_sums(run: _Go, stage: str) -> str:
    return scaffold.write_text(stage, "go.work.sum", scaffold.read_text(workspace.sum_path(run.go_work)))


def _mod_flag(recipe: Mapping[str, Any]) -> tuple[str, ...]:
    return (f"-mod={recipe['mod']}",) if recipe["mod"] else ()


def _tags(recipe: Mapping[str, Any]) -> tuple[str, ...]:
    return (f"-tags={recipe['tags']}",) if recipe["tags"] else ()


def _entries(recipe: Mapping[str, Any], binary: str) -> tuple[Entry, ...]:
    def read() -> BinaryIO:
        return open(binary, "rb", buffering=0)

    path = str(recipe["binary"]).lstrip("/")
    function = recipe["kind"] == "function"
    executable = Entry(
        path=path,
        kind="file",
        mode=0o755,
        uid=USER_UID if function else 0,
        gid=USER_GID if function else 0,
        size=os.path.getsize(binary),
        open=read,
        origin=f"go build ({os.path.basename(path)})",
    )
    if function:
        return (executable,)
    return (Entry(path=os.path.dirname(path), kind="dir", mode=0o755, origin="go build"), executable)


def _created_by(recipe: Mapping[str, Any]) -> str:
    words = [str(recipe["version"]), "build", *_FLAGS]
    words += [f"-{name}={recipe[name]}" for name in ("ldflags", "tags") if recipe[name]]
    words.append("." if recipe["kind"] == "function" else str(recipe["import"]))
    return "hostbuild: " + " ".join(words)


#: What go prints where the source is not to blame: its words, why that is, and what to do.
_NOT_THE_SOURCE = (
    (
        "signal: killed",
        "one of its tools was killed: the system may have had too little memory, or somebody did it",
        "build fewer platforms at once (-j 1), or give the build more memory",
    ),
    (
        "no space left on device",
        "no space is left where go writes",
        "free some: it writes to the build directory, to GOCACHE, and to GOTMPDIR or TMPDIR",
    ),
    (
        "GOCACHE is not defined",
        "go does not know where to keep what it compiled",
        "set HOME, XDG_CACHE_HOME or GOCACHE",
    ),
)


def explain(error: ToolError) -> tuple[str, str]:
    """Why a go command failed and what to do, where its output tells of something else than the source."""
    for words, why, fix in _NOT_THE_SOURCE:
        if words in error.detail:
            return error.why or why, error.fix or fix
    return error.why, error.fix
