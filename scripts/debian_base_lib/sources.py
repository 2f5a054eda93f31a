"""Where a Debian release is to be had: read from this machine's own apt sources, never written down here."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from hostbuild.errors import SettingsError, UsageError

APT_DIRECTORY = Path("/etc/apt")
COMPONENT = "main"
_OPTION = re.compile(r"([A-Za-z-]+)[+-]?=(\S+)")


class Source(NamedTuple):
    """One archive and one release in it; `signed_by` as apt writes it (a path, or a key), "" its default."""

    uri: str
    suite: str
    signed_by: str = ""

    def stanza(self) -> str:
        """It as a stanza of a `.sources` file (sources.list(5), "DEB822-STYLE FORMAT").

        `Trusted: yes` is never carried over: an archive whose signature does not verify is not used.
        """
        signed = f"Signed-By:{self.signed_by}\n" if self.signed_by else ""
        return f"Types: deb\nURIs: {self.uri}\nSuites: {self.suite}\nComponents: {COMPONENT}\n{signed}"


def find_source(suite: str, directory: Path = APT_DIRECTORY) -> Source:
    """The first source below `directory` that has `suite` (bookworm) with its component main.

    Its updates and security suites are not taken: a release's packages change rarely and for all
    architectures together. Raises UsageError where there is none, SettingsError for files that cannot be
    read.
    """
    for path in _files(directory):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"cannot read {str(path)!r}", why=str(error)) from error
        read = _stanzas if path.suffix == ".sources" else _lines
        for source, components in read(text):
            if source.suite == suite and COMPONENT in components:
                return source
    raise UsageError(
        f"apt knows no archive that has Debian {suite}",
        why=f"no source below {str(directory)!r} names the suite {suite} with the component {COMPONENT}",
        fix="name one with --mirror URL, and the keys that sign it with --keyring FILE",
    )


def _files(directory: Path) -> Iterator[Path]:
    single = directory / "sources.list"
    if single.is_file():
        yield single
    parts = directory / "sources.list.d"
    names = sorted(os.listdir(parts)) if parts.is_dir() else []
    yield from (parts / name for name in names if name.endswith((".list", ".sources")))


def _lines(text: str) -> Iterator[tuple[Source, list[str]]]:
    """The one-line format: `deb [ option=value … ] uri suite component …`."""
    for line in text.splitlines():
        found = re.fullmatch(r"deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)\s*(.*)", line.partition("#")[0].strip())
        if found:
            options = dict(_OPTION.findall(found[1] or ""))
            signed = options.get("signed-by", "")
            yield Source(found[2], found[3], f" {signed}" if signed else ""), found[4].split()


def _stanzas(text: str) -> Iterator[tuple[Source, list[str]]]:
    """The deb822 format: fields in stanzas, each with several URIs and suites."""
    plain = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", plain):
        fields = _fields(stanza)
        enabled = fields.get("enabled", "yes").strip().lower() not in {"no", "false", "0", "off", "disable"}
        if enabled and "deb" in fields.get("types", "").split():
            for uri in fields.get("uris", "").split():
                for suite in fields.get("suites", "").split():
                    signed = fields.get("signed-by", "").rstrip()
                    yield Source(uri, suite, signed), fields.get("components", "").split()


def _fields(stanza: str) -> Mapping[str, str]:
    """Names in lower case; a value keeps the lines that it goes on over, as a key in Signed-By does."""
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line[:1].isspace():
            fields[name] = f"{fields.get(name, '')}\n{line}"
        else:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value
    return fields
