"""One line that asks for a package: by name, by URL, or a local project.

Sources: packaging.python.org, "Dependency specifiers" (PEP 508); pip's documentation, "Requirement
Specifiers" and "Requirements File Format".
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from hostbuild.errors import DependenciesError
from hostbuild.patterns import late
from hostbuild.redact import redact

_HASH = late(r"\s--hash(?:=|\s+)(\S+)")
_OPTION = late(r"\s(--?[a-zA-Z][\w-]*)")
_EXTRAS = late(r"^(?P<path>.*?)(?:\[(?P<extras>[\w\s.,-]*)\])?$", re.DOTALL)
_VCS = late(r"(?:git|hg|svn|bzr)\+", re.IGNORECASE)
_NAMED_URL = late(r"^\s*(?P<name>[A-Za-z0-9][\w.-]*)\s*(?:\[(?P<extras>[^\]]*)\])?\s*@\s*(?P<url>\S.*)$")
_SEPARATORS = late(r"[-_.]+")
_NORMALISED = late(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_ARCHIVES = (".whl", ".tar.gz", ".tgz", ".zip", ".tar.bz2", ".tar.xz")


class Requirement(NamedTuple):
    """A package that is asked for. `name` is normalised, or "" for a URL that does not tell it.

    `specifier` is "" for any version; `url` is a direct reference, which may hold a password; `marker` is
    "" for always; `hashes` are "sha256:…"; `origin` says file and line.
    """

    name: str
    extras: tuple[str, ...] = ()
    specifier: str = ""
    url: str = ""
    marker: str = ""
    hashes: tuple[str, ...] = ()
    origin: str = ""

    def __repr__(self) -> str:
        return f"Requirement({redact(self.text)!r}, origin={self.origin!r})"

    @property
    def text(self) -> str:
        """The requirement as one line, without its hashes. A URL stands as it is: not to be shown."""
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        if not self.name:
            body = f"{self.url}{extras}"
        elif self.url:
            body = f"{self.name}{extras} @ {self.url}"
        else:
            body = f"{self.name}{extras}{self.specifier}"
        return f"{body} ; {self.marker}" if self.marker else body

    @property
    def is_pinned(self) -> bool:
        """Whether it names one version."""
        if self.url:
            return True
        return re.fullmatch(r"={2,3}[^,*]+", self.specifier) is not None


class LocalProject(NamedTuple):
    """A directory to build. `path` is absolute."""

    path: str
    extras: tuple[str, ...] = ()
    marker: str = ""
    editable: bool = False
    origin: str = ""

    @property
    def text(self) -> str:
        """The project as one line of a requirements file."""
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        return f"{self.path}{extras}" + (f" ; {self.marker}" if self.marker else "")


def normalise(name: str) -> str:
    """A package's or an extra's name as indexes compare it (PEP 503, PEP 685)."""
    return _SEPARATORS.sub("-", name).lower()


def parse_line(line: str, *, folder: str, where: str) -> Requirement | LocalProject:
    """One requirement as in a requirements file: PEP 508, a URL, or a path relative to `folder`, with hashes.

    Raises DependenciesError, which begins with `where`.
    """
    body, hashes = _split_hashes(line, where)
    if _is_vcs(body):
        raise _vcs_refusal(body, where)
    found = _direct(body, folder, where) or _named(body, folder, where)
    if isinstance(found, Requirement) and found.url.startswith("file:"):
        found = _local(found, where)
    return found._replace(hashes=hashes) if isinstance(found, Requirement) else found


def parse_requirement(text: str, *, folder: str, where: str) -> Requirement | LocalProject:
    """One PEP 508 text, as in pyproject.toml. Raises DependenciesError, which begins with `where`."""
    if _is_vcs(text):
        raise _vcs_refusal(text, where)
    found = _named(text, folder, where)
    return _local(found, where) if found.url.startswith("file:") else found


def _split_hashes(line: str, where: str) -> tuple[str, tuple[str, ...]]:
    hashes = tuple(match[1] for match in _HASH.finditer(line))
    body = _HASH.sub("", line).strip()
    if found := _OPTION.search(body):
        raise DependenciesError(
            f"{where}: the option {found[1]} of a single requirement is not supported",
            why="only --hash may follow a requirement",
            fix=f"remove {found[1]}",
        )
    for each in hashes:
        if (
            re.fullmatch(r"(sha256:[0-9a-fA-F]{64}|sha384:[0-9a-fA-F]{96}|sha512:[0-9a-fA-F]{128})", each)
            is None
        ):
            raise DependenciesError(f"{where}: {each!r} is not a hash", fix="write --hash=sha256:…")
    strong = tuple(each.lower() for each in hashes if each.startswith("sha256:"))
    if hashes and not strong:
        raise DependenciesError(
            f"{where}: there is no SHA-256 among the hashes",
            why="wheels are known by it",
            fix="add --hash=sha256:…",
        )
    return body, strong


def _is_vcs(text: str) -> bool:
    named = _NAMED_URL.match(text)
    return _VCS.match(named["url"] if named else text.strip()) is not None


def _vcs_refusal(text: str, where: str) -> DependenciesError:
    return DependenciesError(
        f"{where}: {redact(text.strip())!r} comes from version control",
        why="an image holds wheels that are known by their hash, and a checkout has none",
        fix="name a released version, a URL of a wheel, or a checkout below the project as ./DIRECTORY",
    )


def _direct(text: str, folder: str, where: str) -> Requirement | LocalProject | None:
    """A bare URL or path, or None for what begins with a name."""
    body, marker = _split_marker(text)
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:", body) and "@" not in body.partition(":")[0]:
        match = _EXTRAS.match(body)
        extras = _split_extras(match["extras"]) if match else ()
        url = match["path"] if match else body
        return Requirement(
            _name_in(url), extras, url=url, marker=_checked_marker(marker, where), origin=where
        )
    if not _looks_like_path(body, folder) or _NAMED_URL.match(body):
        return None
    match = _EXTRAS.match(body)
    path, extras = (match["path"].strip(), _split_extras(match["extras"])) if match else (body, ())
    absolute = os.path.normpath(os.path.join(folder, os.path.expanduser(path)))
    return _on_disk(absolute, extras, _checked_marker(marker, where), where)


def _split_marker(text: str) -> tuple[str, str]:
    """Body and marker: behind a URL the semicolon stands apart, as it may be part of the URL."""
    pattern = r"\s;\s*|;\s+" if "://" in text else r"\s*;\s*"
    body, *marker = re.split(pattern, text, maxsplit=1)
    return body.strip(), marker[0].strip() if marker else ""


def _checked_marker(marker: str, where: str) -> str:
    if not marker:
        return ""
    from packaging.markers import InvalidMarker, Marker

    try:
        return str(Marker(marker))
    except (InvalidMarker, RecursionError) as error:
        raise DependenciesError(
            f"{where}: {marker!r} is not a marker", why=str(error).partition("\n")[0]
        ) from None


def _looks_like_path(text: str, folder: str) -> bool:
    if text.startswith((".", "/", "~")):
        return True
    path = text.partition("[")[0].strip()
    if "/" in path or path.lower().endswith(_ARCHIVES):
        return " " not in path or os.path.exists(os.path.join(folder, path))
    return False


def _on_disk(path: str, extras: tuple[str, ...], marker: str, where: str) -> Requirement | LocalProject:
    if os.path.isdir(path):
        if not any(os.path.isfile(os.path.join(path, name)) for name in ("pyproject.toml", "setup.py")):
            raise DependenciesError(
                f"{where}: the directory {path!r} is no Python project",
                why="it has neither a pyproject.toml nor a setup.py",
            )
        return LocalProject(path, extras, marker, origin=where)
    if not os.path.isfile(path):
        raise DependenciesError(f"{where}: there is no file or directory {path!r}", fix="correct the path")
    if not path.lower().endswith(_ARCHIVES):
        raise DependenciesError(
            f"{where}: {path!r} is neither a wheel nor a source archive",
            fix=f"a local file ends with {', '.join(_ARCHIVES)}; another requirements file is named with -r",
        )
    from urllib.parse import quote

    return Requirement(_name_in(path), extras, url=f"file://{quote(path)}", marker=marker, origin=where)


def _local(found: Requirement, where: str) -> Requirement | LocalProject:
    """What a file: URL names."""
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(found.url)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise DependenciesError(
            f"{where}: {redact(found.url)!r} names no absolute path", fix="write file:///ABSOLUTE/PATH"
        )
    item = _on_disk(os.path.normpath(unquote(parts.path)), found.extras, found.marker, where)
    if isinstance(item, LocalProject):
        return item
    return item._replace(name=found.name or item.name, hashes=found.hashes)


def _name_in(url: str) -> str:
    """The package's name that a URL or path tells: `#egg=NAME`, or a wheel's file name."""
    address, _, fragment = url.partition("#")
    if egg := re.search(r"(?:^|&)egg=([\w.-]+)", fragment):
        return normalise(egg[1])
    last = address.partition("?")[0].rpartition("/")[2]
    return normalise(last.partition("-")[0]) if last.lower().endswith(".whl") and last.count("-") >= 4 else ""


def _split_extras(text: str | None) -> tuple[str, ...]:
    return tuple(sorted({normalise(each.strip()) for each in (text or "").split(",") if each.strip()}))


def _named(text: str, folder: str, where: str) -> Requirement:
    from packaging.requirements import InvalidRequirement
    from packaging.requirements import Requirement as Parsed

    try:
        parsed = Parsed(text)
    except (InvalidRequirement, RecursionError) as error:
        raise DependenciesError(
            f"{where}: {redact(text)!r} is not a requirement",
            why=redact(str(error).partition("\n")[0].strip()),
            fix="write it as NAME, NAME>=VERSION, NAME[EXTRA]==VERSION; MARKER, or NAME @ URL",
        ) from None
    for name in (parsed.name, *parsed.extras):
        if _NORMALISED.fullmatch(normalise(name)) is None:
            raise DependenciesError(
                f"{where}: {name!r} is not a name", fix="it ends with a letter or a digit"
            )
    url = parsed.url or ""
    if url and "://" not in url and not url.startswith("file:"):
        from urllib.parse import quote

        url = f"file://{quote(os.path.normpath(os.path.join(folder, url)))}"
    return Requirement(
        normalise(parsed.name),
        tuple(sorted(normalise(each) for each in parsed.extras)),
        str(parsed.specifier),
        url,
        str(parsed.marker) if parsed.marker else "",
        origin=where,
    )
