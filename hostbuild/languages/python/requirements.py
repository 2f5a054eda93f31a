"""Requirements files, as pip reads them: what they ask for, from where, and every file that was read.

Source of the rules: pip's documentation, "Requirements File Format". What an image cannot hold as it is
asked for (a version control checkout) is refused with the line; a local project is a thing to build, editable
or not.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from hostbuild.errors import DependenciesError
from hostbuild.languages.python.requirement import LocalProject, Requirement, parse_line
from hostbuild.redact import redact

_LARGEST = 4 * 1024 * 1024
_DEEPEST = 32

_COMMENT = re.compile(r"(^|\s)#.*$")
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")

_WITH_VALUE = {
    "-r": "requirement",
    "--requirement": "requirement",
    "-c": "constraint",
    "--constraint": "constraint",
    "-e": "editable",
    "--editable": "editable",
    "-i": "index",
    "--index-url": "index",
    "--extra-index-url": "extra-index",
    "-f": "find-links",
    "--find-links": "find-links",
    "--no-binary": "no-binary",
    "--only-binary": "only-binary",
    "--trusted-host": "trusted-host",
    "--use-feature": "ignored",
}
_SWITCHES = {
    "--no-index": "no-index",
    "--pre": "pre",
    "--require-hashes": "require-hashes",
    "--prefer-binary": "ignored",
}


class FileRead(NamedTuple):
    """A file that was read: its absolute path and the SHA-256 of its bytes in hex."""

    path: str
    digest: str


class Sources:
    """Where packages come from and in which form; the URLs may hold passwords and are never shown.

    `index` replaces the default index; `find_links` are URLs or absolute paths.
    """

    def __init__(self) -> None:
        self.index = ""
        self.extra_indexes: list[str] = []
        self.find_links: list[str] = []
        self.no_index = False
        self.no_binary: list[str] = []
        self.only_binary: list[str] = []
        self.trusted_hosts: list[str] = []
        self.pre = False


class RequirementsFile:
    """All that a requirements file asks for, with the files that it includes."""

    def __init__(self) -> None:
        self.requirements: list[Requirement] = []
        self.constraints: list[Requirement] = []
        self.local: list[LocalProject] = []
        self.sources = Sources()
        self.require_hashes = False
        self.files: list[FileRead] = []
        self.warnings: list[str] = []


def read_requirements(path: str, *, root: str, environment: Mapping[str, str]) -> RequirementsFile:
    """The requirements file at `path`, with all that it includes.

    `root` is what files are named relative to in errors; `${NAME}` is taken from `environment`. With a
    hash anywhere, everything must be pinned and have one, as pip asks.

    Raises DependenciesError with file and line.
    """
    found = RequirementsFile()
    _Reader(found, root, environment).read(os.path.abspath(path), [], constraint=False)
    _check_hashes(found)
    return found


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a requirements file with the number of the first line of each: joined where a line ends
    with a backslash, without comments, blanks left out.
    """
    parts: list[str] = []
    first = 0
    for number, line in enumerate(text.splitlines(), 1):
        first = first if parts else number
        is_comment = line.lstrip().startswith("#")
        if line.endswith("\\") and not is_comment:
            parts.append(line[:-1])
            continue
        parts.append(f" {line}" if is_comment else line)
        yield from _cleaned(first, parts)
        parts = []
    yield from _cleaned(first, parts)


def _cleaned(number: int, parts: list[str]) -> Iterator[tuple[int, str]]:
    line = _COMMENT.sub("", "".join(parts)).strip()
    if line:
        yield number, line


class _Reader:
    def __init__(self, found: RequirementsFile, root: str, environment: Mapping[str, str]) -> None:
        self._found = found
        self._root = root
        self._environment = environment
        self._done: set[tuple[str, bool]] = set()

    def read(self, path: str, above: list[str], *, constraint: bool) -> None:
        label = os.path.relpath(path, self._root)
        if path in above or len(above) > _DEEPEST:
            chain = " -> ".join(os.path.relpath(each, self._root) for each in (*above, path))
            raise DependenciesError(f"{label} includes itself", why=chain, fix="remove one of the -r lines")
        if (path, constraint) in self._done:
            return
        self._done.add((path, constraint))
        text = self._text(path, label, above)
        for number, line in logical_lines(text):
            where = f"{label}:{number}"
            expanded = self._expand(line, where)
            if expanded.startswith("-"):
                self._options(expanded, path, where, above, constraint=constraint)
            else:
                self._requirement(expanded, path, where, constraint=constraint)

    def _text(self, path: str, label: str, above: list[str]) -> str:
        try:
            with open(path, "rb") as stream:
                data = stream.read(_LARGEST + 1)
        except OSError as error:
            by = f" (included by {os.path.relpath(above[-1], self._root)})" if above else ""
            raise DependenciesError(f"cannot read {label}{by}", why=error.strerror or str(error)) from None
        if len(data) > _LARGEST:
            raise DependenciesError(f"{label} is larger than {_LARGEST} bytes", fix="it is no such file")
        read = FileRead(path, hashlib.sha256(data).hexdigest())
        if read not in self._found.files:
            self._found.files.append(read)
        encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        try:
            return data.decode(encoding)
        except UnicodeDecodeError as error:
            raise DependenciesError(f"cannot read {label}", why=str(error), fix="write it in UTF-8") from None

    def _expand(self, line: str, where: str) -> str:
        def value(match: re.Match[str]) -> str:
            name = match[1]
            if not self._environment.get(name):
                raise DependenciesError(
                    f"{where}: the environment variable {name} is not set",
                    why=f"the line uses ${{{name}}}",
                    fix=f"set {name} where hostbuild is started",
                )
            return self._environment[name]

        return _VARIABLE.sub(value, line)

    def _requirement(self, line: str, path: str, where: str, *, constraint: bool) -> None:
        item = parse_line(line, folder=os.path.dirname(path), where=where)
        if isinstance(item, LocalProject):
            if constraint:
                raise DependenciesError(
                    f"{where}: a local project is no constraint", fix="constraints are NAME with versions"
                )
            self._found.local.append(item)
        elif constraint:
            if not item.name or item.extras:
                raise DependenciesError(
                    f"{where}: a constraint needs a name, and no extras", fix="write NAME==VERSION"
                )
            self._found.constraints.append(item)
        else:
            self._found.requirements.append(item)

    def _options(self, line: str, path: str, where: str, above: list[str], *, constraint: bool) -> None:
        for name, value in _split_options(line, where):
            if name in ("requirement", "constraint"):
                self._include(value, path, where, above, constraint=constraint or name == "constraint")
            elif name == "editable":
                self._editable(value, path, where)
            else:
                self._source(name, value, os.path.dirname(path))

    def _include(self, value: str, path: str, where: str, above: list[str], *, constraint: bool) -> None:
        if "://" in value:
            raise DependenciesError(
                f"{where}: {redact(value)!r} is not on this machine",
                why="the same source must give the same image, and what a URL gives may change",
                fix="download the file into the project, and name it there",
            )
        included = os.path.normpath(os.path.join(os.path.dirname(path), value))
        self.read(included, [*above, path], constraint=constraint)

    def _editable(self, value: str, path: str, where: str) -> None:
        folder = os.path.dirname(path)
        if os.path.isdir(os.path.join(folder, value.partition("[")[0])):
            value = os.path.join(os.curdir, value)  # a plain name is a directory here
        item = parse_line(value, folder=folder, where=where)
        if not isinstance(item, LocalProject):
            raise DependenciesError(
                f"{where}: -e {redact(value)!r} is not a directory of a project",
                why="only a local project can be editable",
                fix="remove -e, or name a directory with a pyproject.toml",
            )
        self._found.local.append(item._replace(editable=True))
        self._found.warnings.append(
            f"{where}: -e is taken as a plain local project: an image holds the built wheel"
        )

    def _source(self, name: str, value: str, folder: str) -> None:
        sources = self._found.sources
        if name == "index":
            sources.index = value
        elif name == "extra-index":
            sources.extra_indexes.append(value)
        elif name == "find-links":
            sources.find_links.append(value if "://" in value else os.path.join(folder, value))
        elif name == "no-index":
            sources.no_index = True
        elif name == "no-binary":
            sources.no_binary += _names(value)
        elif name == "only-binary":
            sources.only_binary += _names(value)
        elif name == "trusted-host":
            sources.trusted_hosts.append(value)
        elif name == "pre":
            sources.pre = True
        elif name == "require-hashes":
            self._found.require_hashes = True


def _names(value: str) -> list[str]:
    return [each.strip() for each in value.split(",") if each.strip()]


def _split_options(line: str, where: str) -> Iterator[tuple[str, str]]:
    """The options of a line, each by its meaning with its value ("" for a switch)."""
    import shlex

    try:
        words = shlex.split(line)
    except ValueError as error:
        raise DependenciesError(f"{where}: {redact(line)!r} cannot be read", why=str(error)) from None
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=") if word.startswith("--") else (word[:2], word[2:], word[2:])
        if name in _SWITCHES and not equals:
            yield _SWITCHES[name], ""
        elif name in _WITH_VALUE:
            if not equals and not words:
                raise DependenciesError(f"{where}: {name} needs a value")
            yield _WITH_VALUE[name], value.lstrip("=") if equals else words.pop(0)
        else:
            raise DependenciesError(
                f"{where}: {redact(name)!r} is not an option of a requirements file",
                fix="remove it; hostbuild knows pip's options that say what to install and from where",
            )


def _check_hashes(found: RequirementsFile) -> None:
    """Pip's rule: where one requirement has a hash, all must have one, and name one version."""
    everything = [*found.requirements, *found.constraints]
    if not found.require_hashes and not any(each.hashes for each in everything):
        return
    found.require_hashes = True
    hashed = {each.name for each in everything if each.hashes}
    pinned = {each.name for each in everything if each.is_pinned}
    wrong = [
        f"{each.origin}: {redact(each.text)} has {'no hash' if each.name in pinned else 'no single version'}"
        for each in found.requirements
        if each.name not in hashed or each.name not in pinned
    ]
    if wrong:
        raise DependenciesError(
            "the requirements have hashes, but not all of them",
            why="with a hash in one place each package must be pinned with == and have one",
            fix="let a tool write the file (uv pip compile --generate-hashes), or remove all hashes",
            detail="\n".join(wrong),
        )
