"""A private apt for one architecture: which packages belong together, and their files.

It has a state, a cache and a configuration of its own in one directory; of the machine's configuration only
how to reach archives (`Acquire::`: proxies, timeouts, …) is taken over, no hook, no preference, and nothing
that would let an unsigned archive pass. The machine's package database is neither read nor written.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from debian_base_lib.sources import Source
from hostbuild.errors import ProtocolError, ToolError
from hostbuild.process.command import capture, run

#: What only maintainer scripts need, and no program of the image: the private apt takes them for installed.
LEFT_OUT: Mapping[str, str] = {
    "debconf": "debconf-2.0",
    "debianutils": "",
    "dpkg": "",
    "install-info": "",
    "libdebconfclient0": "",
    "libselinux1": "",
    "mawk": "awk",
}

#: Bytes that the files of one package may have.
_LARGEST = 512 << 20
_KEPT = re.compile(r"Acquire::(?!IndexTargets|Allow)\S+ .*;")
_PLANNED = re.compile(r"Inst (\S+) (?:\[\S+\] )?\((\S+) ")
_OFFERED = re.compile(r"'[^']*' (\S+) (\d+) SHA256:([0-9a-f]{64})")


class Package(NamedTuple):
    """One binary package: what it is called, and its verified file (deb(5))."""

    name: str
    version: str
    path: Path


class Apt:
    """apt for `architecture` (Debian's name: amd64, arm64, armhf) and one source, in an empty `directory`.

    `environment` is what the tools are started with. Methods raise ToolMissingError where there is no apt,
    ToolError where it fails: no such package, an archive that cannot be reached or does not verify.
    """

    def __init__(
        self, directory: Path, architecture: str, source: Source, environment: Mapping[str, str]
    ) -> None:
        self._directory = directory
        self._source = source
        self._archives = directory / "archives"
        for part in ("state/lists/partial", "cache/archives/partial", "archives"):
            (directory / part).mkdir(parents=True)
        # As root apt fetches as a user of its own, who must be able to come here.
        directory.chmod(0o755)
        self._environment = {**environment, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
        machine = capture(["apt-config", "dump"], cwd=directory, env=self._environment, check=True)
        kept = _KEPT.findall(machine.stdout.decode(errors="replace"))
        (directory / "sources.sources").write_text(source.stanza(), encoding="utf-8")
        (directory / "status").write_text(_status(architecture), encoding="utf-8")
        (directory / "apt.conf").write_text(
            "\n".join([*kept, *_configuration(directory, architecture), ""]), encoding="utf-8"
        )
        self._environment["APT_CONFIG"] = str(directory / "apt.conf")

    def update(self) -> None:
        """Fetch the index, verified by the release's signature; any failure is an error."""
        try:
            self._run("update", "-q", "--error-on=any")
        except ToolError as error:
            raise ToolError(
                f"the index of {self._source.suite} cannot be had from the archive",
                why="apt could not fetch it, or it is not what the archive's signature says",
                fix="try again later; or name another archive with --mirror URL",
                detail=error.detail,
            ) from error

    def closure(self, names: Sequence[str]) -> tuple[str, ...]:
        """`name=version` of the packages and of all that they depend on, sorted; no recommendations."""
        planned = self._run("install", "-s", "-q", "--no-install-recommends", *names)
        return tuple(sorted(f"{name}={version}" for name, version in _PLANNED.findall(planned)))

    def fetch(self, packages: Sequence[str]) -> tuple[Package, ...]:
        """The files of the packages (`name=version`), in that order, each verified by the index's SHA-256.

        Raises ProtocolError for a file that is not what the index says.
        """
        offers = _OFFERED.findall(self._run("download", "-q", "--print-uris", *packages))
        if len(offers) != len(packages):
            raise ProtocolError(
                "the archive does not offer what its index lists",
                why=f"{len(packages)} packages are needed, and {len(offers)} have a SHA-256",
            )
        self._run("download", "-q", *packages)
        found = [self._verified(name, int(size), digest) for name, size, digest in offers]
        return tuple(sorted(found, key=lambda package: f"{package.name}={package.version}"))

    def _verified(self, name: str, size: int, digest: str) -> Package:
        path = self._archives / name
        data = path.read_bytes()
        if len(data) != size or hashlib.sha256(data).hexdigest() != digest:
            raise ProtocolError(
                f"the package {name} is damaged",
                why=f"its SHA-256 is not {digest}, as the archive's index says",
                fix="try again; if it happens again, what the archive sends is damaged",
            )
        package, version, _ = name.removesuffix(".deb").split("_")
        return Package(package, unquote(version), path)

    def _run(self, *arguments: str) -> str:
        # Output is bounded there; print-uris of some sixty packages is a tenth of that.
        return run(["apt-get", *arguments], cwd=self._archives, env=self._environment).output


def read_archive(package: Package, environment: Mapping[str, str]) -> bytes:
    """The tar archive of the package's files. Raises ToolMissingError and ToolError."""
    argv = ["dpkg-deb", "--fsys-tarfile", str(package.path)]
    return capture(argv, cwd=package.path.parent, env=environment, check=True, limit=_LARGEST).stdout


def fetch_all(
    architectures: Mapping[str, str],
    names: Sequence[str],
    source: Source,
    scratch: Path,
    environment: Mapping[str, str],
    tell: Callable[[str], object],
) -> dict[str, tuple[Package, ...]]:
    """The packages of each platform, whose Debian name `architectures` gives, fetched below `scratch`.

    Raises what `Apt` does.
    """
    scratch.chmod(0o755)
    fetched = {}
    for platform, architecture in architectures.items():
        apt = Apt(scratch / architecture, architecture, source, environment)
        tell(f"{platform}: reading the index of {source.suite} for {architecture}")
        apt.update()
        wanted = apt.closure(names)
        tell(f"{platform}: fetching {len(wanted)} packages")
        fetched[platform] = apt.fetch(wanted)
    return fetched


def _configuration(directory: Path, architecture: str) -> list[str]:
    values = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "Dir::State": directory / "state",
        "Dir::State::status": directory / "status",
        "Dir::Cache": directory / "cache",
        "Dir::Etc::sourcelist": directory / "sources.sources",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        **dict.fromkeys(
            ("sourceparts", "main", "parts", "preferences", "preferencesparts"),
            "/dev/null",
        ),
    }
    return [f'{name if "::" in name else f"Dir::Etc::{name}"} "{value}";' for name, value in values.items()]


def _status(architecture: str) -> str:
    """A package database (dpkg's `status`) in which LEFT_OUT is installed, and nothing else."""
    return "\n".join(
        f"Package: {name}\nStatus: install ok installed\nArchitecture: {architecture}\nMulti-Arch: foreign\n"
        f"Maintainer: nobody\nVersion: 999\n{f'Provides: {provides}' + chr(10) if provides else ''}"
        f"Description: left out\n"
        for name, provides in LEFT_OUT.items()
    )
