"""What must be true when nobody runs: judged by reading all of it, without hostbuild's own code."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from tests.torture.home import Home, Source
from tests.torture.victims import look

_BLOCK = 1 << 20
_LOG_LINE = re.compile(
    r"\d{4}-\d\d-\d\dT[\d:.]{12}[+-]\d\d:\d\d \d+ ([0-9a-f]{12}|-) \S+ (DEBUG|INFO|WARNING|ERROR) .*"
)
_TEMPORARY = re.compile(
    r"\.(new|last|last\.json|sequence|version|CACHEDIR\.TAG|\.gitignore|index\.json)\..*|tmp\..*"
)


class Hashes:
    """SHA-256 of files; each inode is read once, for nobody changes one in place."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, int, int], str] = {}

    def of(self, path: Path) -> str:
        """The file's digest in hex."""
        found = path.lstat()
        key = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        if key not in self._known:
            hasher = hashlib.sha256()
            with path.open("rb") as stream:
                while block := stream.read(_BLOCK):
                    hasher.update(block)
            self._known[key] = hasher.hexdigest()
        return self._known[key]


class Judge:
    """Looks at a home; `faults` collects, each with where to look."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._hashes = Hashes()
        self.blobs = 0

    def everything(self) -> list[str]:
        """All that is wrong after every source was cleaned; reads each new blob once."""
        found = [*self._processes(), *self._cache(), *self._left()]
        for source in self._home.sources:
            found += [f"{source.name}: {each}" for each in self._source(source)]
        return found

    def digest_of_last(self, source: Source) -> str:
        """The digest of the image that `last` names, "" where it names none."""
        index = source.builds / "last/oci/index.json"
        if not index.exists():
            return ""
        digest: str = json.loads(index.read_bytes())["manifests"][0]["digest"]
        return digest

    def _processes(self) -> list[str]:
        return [
            f"process {pid} is left (parent {each.parent}, {each.state}): {each.command[:200]!r}"
            for pid, each in look().items()
        ]

    def _cache(self) -> list[str]:
        found = []
        for path in sorted((self._home.cache / "blobs").rglob("*")):
            if path.is_dir() and not path.is_symlink():
                continue
            self.blobs += 1
            if not path.is_file() or self._hashes.of(path) != path.name:
                found.append(f"the cache's blob {path} is not what its name says")
        for path in sorted((self._home.cache / "keys").rglob("*")):
            if not path.is_dir():
                found += self._record(path)
        for place in ("tmp", "claims"):
            directory = self._home.cache / place
            if directory.is_dir():
                found += [f"{path} is left in the cache" for path in directory.iterdir()]
        found += [f"{path} is left" for path in self._home.cache.rglob(".*") if _TEMPORARY.match(path.name)]
        return found

    def _record(self, path: Path) -> list[str]:
        try:
            record = json.loads(path.read_bytes())
        except ValueError:
            return [f"the cache's record {path} cannot be read"]
        key = path.parent.name + path.name.removesuffix(".json")
        return [] if record.get("key") == key else [f"the cache's record {path} is another's: {record}"]

    def _left(self) -> list[str]:
        """What lies in TMPDIR: whoever was killed there has no other place to leave something."""
        return [f"{path} is left" for path in self._home.temp.iterdir()]

    def _source(self, source: Source) -> list[str]:
        builds = source.builds
        if not builds.is_dir():
            return []
        places = ("staging", "by-pid", "trash")
        found = [f"{path} is left" for place in places for path in (builds / place).glob("*")]
        found += [f"{path} is left" for path in (builds / "staging").glob(".*")]
        found += [f"{path} is left" for path in builds.iterdir() if _TEMPORARY.match(path.name)]
        last = builds / "last"
        if last.is_symlink() and not last.exists():
            found.append(f"last names nothing: {os.readlink(last)}")
        for build in (builds / "by-hash").iterdir():
            found += [f"{build}: {each}" for each in self._build(build)]
        for log in builds.glob("hostbuild.log*"):
            found += self._log(log)
        return found

    def _build(self, build: Path) -> list[str]:
        """A published build: a complete layout, as its record says."""
        try:
            record = json.loads((build / "build.json").read_bytes())
            if record["buildId"] != build.name:
                return [f"its record is of {record['buildId']}"]
            return self._layout(build / "oci", {each["digest"]: each["size"] for each in record["blobs"]})
        except (OSError, ValueError, KeyError, TypeError) as error:
            return [f"cannot be read: {error!r}"]

    def _layout(self, layout: Path, recorded: dict[str, int]) -> list[str]:
        if json.loads((layout / "oci-layout").read_bytes()) != {"imageLayoutVersion": "1.0.0"}:
            return ["its oci-layout is not one"]
        (named,) = json.loads((layout / "index.json").read_bytes())["manifests"]
        used: dict[str, int] = {}
        found: list[str] = []

        def document(descriptor: dict[str, Any]) -> dict[str, Any]:
            blob(descriptor)
            read: dict[str, Any] = json.loads(_blob(layout, descriptor["digest"]).read_bytes())
            return read

        def blob(descriptor: dict[str, Any]) -> None:
            digest, size = descriptor["digest"], descriptor["size"]
            used[digest] = size
            path = _blob(layout, digest)
            if path.lstat().st_size != size or self._hashes.of(path) != path.name:
                found.append(f"blob {digest} is not what its name says")

        for child in document(named)["manifests"]:
            manifest = document(child)
            config = document(manifest["config"])
            for layer in manifest["layers"]:
                blob(layer)
            if len(config["rootfs"]["diff_ids"]) != len(manifest["layers"]):
                found.append(f"{child['digest']} has not as many layers as its config")
        present = {f"{path.parent.name}:{path.name}" for path in (layout / "blobs").glob("*/*")}
        if present != set(used) or recorded != used:
            found.append("its blobs are not those that are named")
        return found

    def _log(self, path: Path) -> list[str]:
        # Half a line at the end is a killed writer's; the next one takes it away.
        lines = path.read_text("utf-8").split("\n")[:-1]
        torn = [line for line in lines if not _LOG_LINE.fullmatch(line)]
        return [f"{path} has a torn line: {line[:200]!r}" for line in torn[:3]]


def _blob(layout: Path, digest: str) -> Path:
    algorithm, _, hexadecimal = digest.partition(":")
    return layout / "blobs" / algorithm / hexadecimal
