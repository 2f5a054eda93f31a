"""vendor/ and a function: which vendored modules can be used as they are.

The middleware is not in a user's vendor/, and in -mod=vendor nothing else exists. So a vendored module is
given to the go command as a directory (`replace M => ./vendor/M`, with a go.mod that the overlay adds):
the user's own vendored files are compiled, patches and all, and only the middleware comes from the
module cache. A module of which the middleware needs more than vendor/ holds is taken from the cache too,
and a warning says so.
"""

from __future__ import annotations

import os

from hostbuild.errors import SourceError
from hostbuild.languages.go import funcgo
from hostbuild.languages.go.gomod import compare_semver
from hostbuild.records import record, replace

_MODULES = os.path.join("vendor", "modules.txt")


@record
class VendorDir:
    """One module of vendor/modules.txt: its version, its `go` line ("" if none).

    `lacks` says what the middleware needs of it that vendor/ does not have, "" for nothing.
    """

    path: str
    version: str
    go: str = ""
    lacks: str = ""

    @property
    def used(self) -> bool:
        """Whether its files in vendor/ are compiled."""
        return not self.lacks

    def go_mod(self) -> str:
        """A go.mod for its directory; its requirements are all in the main module's."""
        return f"module {self.path}\n" + (f"\ngo {self.go}\n" if self.go else "")


def is_vendored(module_dir: str) -> bool:
    """Whether there is a vendor directory, used or not."""
    return os.path.isdir(os.path.join(module_dir, "vendor"))


def read_vendored(module_dir: str, invoke: str) -> dict[str, VendorDir]:
    """The modules of which vendor/ holds packages, by path. Raises SourceError where one has no version."""
    with open(os.path.join(module_dir, _MODULES), encoding="utf-8", errors="replace") as stream:
        modules = _parse(stream.read())
    needed = funcgo.packages(invoke)
    required = {item.path: item.version for item in funcgo.REQUIREMENTS}
    found: dict[str, VendorDir] = {}
    for module in modules:
        lacks = ""
        if module.path in needed:
            folders = [each for each in needed[module.path] if not _has_go(module_dir, module.path, each)]
            if folders:
                lacks = "the package " + "/".join(filter(None, (module.path, folders[0])))
            elif compare_semver(module.version, required[module.path]) < 0:
                lacks = f"version {required[module.path]}"
        found[module.path] = replace(module, lacks=lacks)
    return found


def unused_warnings(modules: dict[str, VendorDir]) -> tuple[str, ...]:
    """What to tell of those that are not taken from vendor/."""
    return tuple(
        f"vendor/{module.path} ({module.version}) is not used: {funcgo.MODULE} {funcgo.VERSION} needs "
        f"{module.lacks}, so the module comes from the module cache"
        for module in modules.values()
        if not module.used
    )


def _has_go(module_dir: str, module: str, folder: str) -> bool:
    try:
        names = os.listdir(os.path.join(module_dir, "vendor", module, folder))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return any(name.endswith(".go") for name in names)


def _parse(text: str) -> list[VendorDir]:
    """`# M V [=> R [RV]]`, then `## explicit; go 1.21`, then the packages (`go mod vendor` writes it)."""
    found: list[VendorDir] = []
    module: VendorDir | None = None
    for line in text.splitlines():
        words = line.split()
        if line.startswith("# ") and len(words) > 1:
            version = words[2] if len(words) > 2 and words[2] != "=>" else ""
            module = VendorDir(words[1], version)
        elif line.startswith("## ") and module is not None:
            for note in line.removeprefix("## ").split(";"):
                if note.strip().startswith("go "):
                    module = replace(module, go=note.split()[1])
        elif words and not line.startswith("#") and module is not None:
            if not module.version:
                raise SourceError(
                    f"vendor/modules.txt names {module.path} without a version", fix="go mod vendor"
                )
            if not found or found[-1].path != module.path:
                found.append(module)
    return found
