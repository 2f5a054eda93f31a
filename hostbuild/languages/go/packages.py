"""Which local files a Go build reads, found without the go command.

The closure of a package: every file whose content decides what is compiled. Imports are followed
through all modules that lie in directories (`modules`); what comes from the module cache or the
standard library is pinned by go.mod, go.sum and the toolchain and is not followed. Test files and
files whose names begin with `_` or `.` never count. cgo is off.

All platforms are walked at once: a package is visited with the set of platforms that reach it, as a bit
mask, and visited again only for platforms that are new to it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from hostbuild.errors import SourceChangedError, SourceError
from hostbuild.languages.go import embed
from hostbuild.languages.go.constraints import file_matches, find_constraint, tags_for
from hostbuild.languages.go.gofile import GoFile, parse_header
from hostbuild.languages.go.gomod import GoMod, GoWork
from hostbuild.languages.go.modules import Modules, find, read_bytes
from hostbuild.languages.go.remembered import Remembered

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hostbuild.oci.platform import Platform

#: Besides Go files: what the assembler and the linker take without cgo (headers are included by .s).
_OTHER = frozenset((".s", ".h", ".hh", ".hpp", ".hxx", ".syso"))
_PROFILE = "default.pgo"
_PROFILE_GO_MINOR = 21


class Closure(NamedTuple):
    """What the build of one package depends on.

    `directory` and `module_root` have their links resolved; `relative` is the package's directory below
    the module's root ("." for the root). `workspace` is the go.work in use or "", `gowork` its content.
    `files` are absolute paths, sorted, all existing. `missing` are imports of local modules that lead
    nowhere, `problems` other things that the go command will refuse; neither is an error here. `packages`
    are the import paths of all local packages that were reached. `cgo_packages` are those that lose
    files without cgo, for a warning.
    """

    directory: str
    module_root: str
    gomod: GoMod
    import_path: str
    package_name: str
    relative: str
    workspace: str
    gowork: GoWork | None
    vendor: bool
    files: tuple[str, ...]
    missing: tuple[str, ...]
    problems: tuple[str, ...]
    packages: tuple[str, ...]
    cgo_packages: tuple[str, ...]


class _File:
    """One file of a package's directory; `mask` are the platforms it belongs to."""

    __slots__ = ("go", "mask", "path")

    def __init__(self, path: str, mask: int, go: GoFile | None = None) -> None:
        self.path = path
        self.mask = mask
        self.go = go


class _Package:
    """One directory, read once for all platforms; `done` are the platforms it was visited for."""

    __slots__ = ("directory", "done", "files", "needs_cgo")

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.files: list[_File] = []
        self.needs_cgo = False
        self.done = 0


def load(
    directory: str,
    *,
    platforms: Sequence[Platform],
    user_tags: Sequence[str] = (),
    go_minor: int,
    gowork: str = "",
    mod_flag: str = "",
    also_imports: Iterable[str] = (),
    memory: Remembered | None = None,
) -> Closure:
    """The closure of the package in `directory` (absolute) for all of `platforms`.

    `user_tags` are those of -tags; `go_minor` is N of the toolchain's version 1.N; `gowork` and
    `mod_flag` are the values of GOWORK and of the flag -mod, "" where not set. `also_imports` are followed
    as if the package imported them (what a scaffold needs, which a replacement or vendor/ may have).
    Raises DetectionError where there is no go.mod, SourceError where a file or directory cannot be read.
    """
    directory = os.path.realpath(directory)
    modules = find(directory, gowork=gowork, mod_flag=mod_flag, memory=memory)
    relative = os.path.relpath(directory, modules.root)
    import_path = modules.gomod.module if relative == "." else f"{modules.gomod.module}/{relative}"
    tags = [tags_for(platform, go_minor, user_tags) for platform in platforms]
    walk = _Walk(modules, tags, memory or Remembered())
    try:
        name = walk.start(import_path, directory, also_imports)
        walk.follow()
    except OSError as error:
        # Only directories are read here without a message of their own.
        raise SourceError(
            f"cannot read {error.filename}", why=str(error.strerror), fix="make it readable"
        ) from error
    files = walk.files.union(modules.files)
    profile = f"{directory}/{_PROFILE}"
    if name == "main" and go_minor >= _PROFILE_GO_MINOR and os.path.isfile(profile):
        files.add(profile)  # -pgo=auto, the default, compiles with it
    return Closure(
        directory=directory,
        module_root=modules.root,
        gomod=modules.gomod,
        import_path=import_path,
        package_name=name,
        relative=relative,
        workspace=modules.workspace,
        gowork=modules.gowork,
        vendor=bool(modules.vendor),
        files=tuple(sorted(files)),
        missing=tuple(sorted(walk.missing)),
        problems=(*modules.problems, *walk.problems),
        packages=tuple(sorted(walk.packages)),
        cgo_packages=tuple(sorted(path for path, found in walk.packages.items() if found.needs_cgo)),
    )


class _Walk:
    """The state of one closure: packages by import path, and what is still to be visited."""

    def __init__(self, modules: Modules, tags: list[frozenset[str]], memory: Remembered) -> None:
        self.modules = modules
        self.tags = tags
        self.memory = memory
        self.files: set[str] = set()
        self.missing: set[str] = set()
        self.problems: list[str] = []
        self.packages: dict[str, _Package] = {}
        self._elsewhere: set[str] = set()
        self._queue: list[tuple[str, int]] = []
        self._embedded: dict[tuple[str, str], list[str]] = {}

    def start(self, import_path: str, directory: str, also: Iterable[str]) -> str:
        """Begin with this package; its name, "" where no Go file of it belongs to a platform."""
        package = self.packages[import_path] = self._read(directory)
        everywhere = (1 << len(self.tags)) - 1
        self._queue += [(path, everywhere) for path in (import_path, *also)]
        names = [file.go.package for file in package.files if file.mask and file.go is not None]
        return names[0] if names else ""

    def follow(self) -> None:
        """Visit until nothing is left."""
        while self._queue:
            import_path, mask = self._queue.pop()
            package = self._package(import_path)
            if package is None:
                continue
            new = mask & ~package.done
            if not new:
                continue
            package.done |= new
            for file in package.files:
                if file.mask & new:
                    self._take(package.directory, file, file.mask & new)

    def _take(self, directory: str, file: _File, mask: int) -> None:
        self.files.add(file.path)
        if file.go is None:
            return
        for pattern in file.go.embeds:
            key = (directory, pattern)
            if key not in self._embedded:
                self._embedded[key] = embed.resolve(directory, pattern)
            self.files.update(self._embedded[key])
        for path, _ in file.go.imports:
            if path not in self._elsewhere:
                self._queue.append((path, mask))

    def _package(self, import_path: str) -> _Package | None:
        """The local package of this path, or None if it is not local."""
        package = self.packages.get(import_path)
        if package is None and import_path not in self._elsewhere:
            directory = self._directory_of(import_path)
            if not directory:
                self._elsewhere.add(import_path)
                return None
            package = self.packages[import_path] = self._read(directory)
        return package

    def _directory_of(self, import_path: str) -> str:
        """Where the package lies: in the module with the longest path that has it; "" if not local."""
        modules = self.modules
        prefix = import_path
        expected = False
        while prefix:
            root = modules.main.get(prefix) or modules.replaced.get(prefix)
            if root is not None:
                expected = expected or prefix in modules.main
                directory = root + import_path[len(prefix) :]
                if _has_go_files(directory) and not _other_module_between(root, directory):
                    return directory
            prefix = prefix.rpartition("/")[0]
        if modules.vendor and (import_path in modules.vendored or "." in import_path.partition("/")[0]):
            directory = f"{modules.vendor}/{import_path}"
            if _has_go_files(directory):
                return directory
        if expected:
            self.missing.add(import_path)
        return ""

    def _read(self, directory: str) -> _Package:
        """All files of a directory that can belong to a build, with the platforms they belong to."""
        package = _Package(directory)
        with_cgo = without_cgo = 0
        with os.scandir(directory) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
        for entry in entries:
            name = entry.name
            extension = name[name.rfind(".") :] if "." in name else ""
            if (
                name[0] in "_."
                or name.endswith("_test.go")
                or (extension != ".go" and extension not in _OTHER)
            ):
                continue
            if entry.is_dir():
                continue
            if not entry.is_file():
                self.problems.append(f"{entry.path}: not a regular file, or a link to nothing")
                continue
            file = self._read_file(entry.path, name, extension)
            if file.go is not None and file.go.cgo:
                if file.mask:
                    without_cgo |= file.mask  # dropped without a word
                elif self._mask(name, file.go.constraint, entry.path, ("cgo",)):
                    with_cgo = 1
                file.mask = 0
            package.files.append(file)
        has_go = any(file.mask and file.go is not None for file in package.files)
        package.needs_cgo = bool(without_cgo or (with_cgo and not has_go))
        return package

    def _read_file(self, path: str, name: str, extension: str) -> _File:
        mask = self._mask(name, "", path)
        if not mask or extension == ".syso":
            return _File(path, mask)
        known = self.memory.header(path) if extension == ".go" else None
        if known is not None:
            if known.constraint:
                mask = self._mask(name, known.constraint, path)
            return _File(path, 0 if known.package == "documentation" else mask, known)
        data = _read(path)
        go: GoFile | None = None
        complaint = constraint = ""
        try:
            if extension == ".go":
                go = parse_header(data, path)
        except SourceError as error:
            complaint = str(error)  # of no interest if the file is excluded
        try:
            constraint = go.constraint if go is not None else find_constraint(data)
        except SourceError as error:
            complaint = f"{path}: {error}"
        if constraint:
            mask = self._mask(name, constraint, path)
        if mask and complaint:
            self.problems.append(complaint)
        if go is not None and not complaint:
            self.memory.learn("header", path, data, go)
        if go is not None and go.package == "documentation":
            mask = 0  # go/build passes such files over
        return _File(path, mask, go)

    def _mask(self, name: str, constraint: str, path: str, more: Iterable[str] = ()) -> int:
        """The platforms that a file of this name and constraint belongs to."""
        mask = 0
        try:
            for bit, tags in enumerate(self.tags):
                if file_matches(name, constraint, tags.union(more) if more else tags):
                    mask |= 1 << bit
        except SourceError as error:
            self.problems.append(f"{path}: {error}")
            return (1 << len(self.tags)) - 1
        return mask


def _read(path: str) -> bytes:
    try:
        return read_bytes(path)
    except SourceError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise SourceChangedError(
                f"{path} was removed while the source was read", fix="build again"
            ) from error
        raise


def _has_go_files(directory: str) -> bool:
    """Whether this is a package's directory, by the go command's rule: it has a file named *.go."""
    try:
        with os.scandir(directory) as scan:
            return any(entry.name.endswith(".go") and entry.is_file() for entry in scan)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _other_module_between(root: str, directory: str) -> bool:
    while len(directory) > len(root):
        if os.path.isfile(f"{directory}/go.mod"):
            return True
        directory = os.path.dirname(directory)
    return False
