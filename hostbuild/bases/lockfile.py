"""hostbuild.lock: which digest the name of each base image meant when it was locked.

```toml
version = 1

[[base]]
name = "docker.io/library/python:3.13-slim"
digest = "sha256:…"
```
"""

from __future__ import annotations

import os

from hostbuild.errors import InvalidDigestError, SettingsError, StoreError
from hostbuild.oci.digest import Digest
from hostbuild.points import reach
from hostbuild.settings.files import read_file

LOCK_FILE = "hostbuild.lock"
_VERSION = 1
_HEAD = "# What the names of base images mean, by hostbuild build --lock. Commit this file.\n"
_FIX = "mend it, or remove it and build with --lock"


def read_lock(root: str) -> dict[str, str] | None:
    """Digest texts by full reference from `root`'s lock file; None where there is none.

    Raises SettingsError for one that cannot be read or understood.
    """
    path = os.path.join(root, LOCK_FILE)
    data = read_file(path)
    if data is None:
        return None
    import tomllib

    try:
        document = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{LOCK_FILE} is not TOML", why=str(error), fix=_FIX) from None
    if document.get("version") != _VERSION:
        raise SettingsError(
            f"{LOCK_FILE}: version is {document.get('version')!r}",
            why=f"this hostbuild reads version {_VERSION}",
            fix="use the hostbuild that wrote it, or remove it and build with --lock",
        )
    found: dict[str, str] = {}
    entries = document.get("base", [])
    if not isinstance(entries, list):
        raise SettingsError(f"{LOCK_FILE}: base is not a list of tables", fix=_FIX)
    for entry in entries:
        name, digest = (entry.get("name"), entry.get("digest")) if isinstance(entry, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(digest, str):
            raise SettingsError(f"{LOCK_FILE}: a base has no name or no digest", fix=_FIX)
        try:
            found[name] = str(Digest.parse(digest))
        except InvalidDigestError as error:
            raise SettingsError(f"{LOCK_FILE}: {name!r}: {error.what}", why=error.why, fix=_FIX) from None
    return found


def write_lock(root: str, name: str, digest: str) -> bool:
    """Record that `name` means `digest`, beside what is recorded; whether the file changed.

    Raises SettingsError for a file that cannot be understood, StoreError where it cannot be written.
    """
    from hostbuild.store.beside import replace_beside
    from hostbuild.store.failures import Explaining

    locked = read_lock(root) or {}
    if locked.get(name) == digest:
        return False
    locked[name] = digest
    lines = [_HEAD, f"version = {_VERSION}\n"]
    lines += [
        f'\n[[base]]\nname = "{each}"\ndigest = "{locked[each]}"\n' for each in sorted(locked)
    ]  # neither references nor digests hold what TOML would have escaped
    try:
        with Explaining(f"write {LOCK_FILE}", root):
            replace_beside(os.path.join(root, LOCK_FILE), "".join(lines).encode())
    except StoreError as error:  # the store's advice names its own flags, which move no lock file
        error.fix = f"--lock needs to write into {root}: make that possible, or build without it"
        raise
    reach("lockfile-after-write")
    return True
