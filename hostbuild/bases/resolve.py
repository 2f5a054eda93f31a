"""Which digest a base's name means now: from the name itself, the lock file, the cache or the registry."""

from __future__ import annotations

from typing import NamedTuple

from hostbuild.bases.lockfile import LOCK_FILE, read_lock, write_lock
from hostbuild.bases.naming import BaseName, open_place
from hostbuild.bases.network import Network
from hostbuild.bases.values import NO_BASE, Base
from hostbuild.errors import BaseImageError, InvalidDigestError, OfflineError, UsageError
from hostbuild.oci.digest import Digest
from hostbuild.oci.reference import Reference
from hostbuild.plan import key_of
from hostbuild.store.cache import Cache

PULL_POLICIES = ("always", "missing", "never")


class Wish(NamedTuple):
    """How a base is to be resolved: see `hostbuild.model.BuildRequest`. `root` holds hostbuild.lock.

    `lock` asks the registry whatever is locked; `writes` False leaves the file as it is all the same.
    """

    root: str
    pull: str = ""
    lock: bool = False
    locked: bool = False
    writes: bool = True


def resolve_base(name: BaseName, wish: Wish, cache: Cache, network: Network) -> Base:
    """The base that `name` means. A digest asks nobody; a tag asks its registry once (HEAD), or not at all.

    With `wish.lock` and `wish.writes` the answer is written to hostbuild.lock. Raises BaseImageError,
    OfflineError, SettingsError, UnreachableError and the other errors of registries.
    """
    if name.kind == "scratch":
        return NO_BASE
    if name.kind != "registry":
        if wish.lock or wish.locked:
            raise UsageError(
                f"the base image {name} cannot be locked",
                why="it is on this machine, and hostbuild.lock pins tags of registries",
                fix="leave --lock and --locked out",
            )
        with open_place(name) as image:
            # A word alone is a tag in a layout, and names nothing that could be pulled.
            said = image.name if "/" in image.name or ":" in image.name else ""
            return Base(name, said, str(image.root.digest))
    reference = name.reference
    full = str(reference)
    if reference.digest is not None:
        return Base(name, full, str(reference.digest), "named by digest")
    if not wish.lock and (digest := _locked(full, wish)):
        if wish.pull == "always":
            raise UsageError(
                f"--pull=always, and {LOCK_FILE} says what {name} is",
                why="one asks for what the tag is now, the other for what it was",
                fix="leave --pull out, or renew the lock with --lock",
            )
        return Base(name, full, digest, f"locked in {LOCK_FILE}")
    digest, how = _of_tag(reference, wish, cache, network)
    if wish.lock and wish.writes:
        write_lock(wish.root, full, digest)
    return Base(name, full, digest, how)


def _locked(full: str, wish: Wish) -> str:
    """The digest that the lock file has for the name; "" where it has none and need not."""
    locked = read_lock(wish.root)
    digest = (locked or {}).get(full, "")
    if not digest and wish.locked:
        raise BaseImageError(
            f"the base image {full} is not locked",
            why=f"there is no {LOCK_FILE}" if locked is None else f"{LOCK_FILE} does not name it",
            fix="build once with --lock, and commit the file",
        )
    return digest


def _of_tag(reference: Reference, wish: Wish, cache: Cache, network: Network) -> tuple[str, str]:
    """The digest of a tag, and where it comes from."""
    if wish.pull and wish.pull not in PULL_POLICIES:
        raise UsageError(f"--pull={wish.pull}: there is no such policy", fix="write always, missing or never")
    key = key_of("base tag", reference=str(reference))
    offline = network.access.offline
    if wish.pull in {"missing", "never"} or offline:
        if known := _known(cache.keys.get(key)):
            return known, "as it was pulled before"
        if offline:
            raise OfflineError(
                f"what the base image {reference.familiar} is, is not in the cache",
                why="--offline forbids to ask its registry",
                fix="build once without --offline, or name it by digest",
            )
        if wish.pull == "never":
            raise BaseImageError(
                f"the base image {reference.familiar} is not in the cache",
                why="--pull=never forbids to ask its registry",
                fix="use --pull=missing",
            )
    repository = network.repository(reference)
    found = repository.head(reference.tag)
    digest = str(found.digest) if found else str(repository.manifest(reference.tag)[0].digest)
    if _known(cache.keys.get(key)) != digest:
        cache.keys.put(key, {"digest": digest})
    return digest, f"as {reference.registry} has it now"


def _known(record: dict[str, object] | None) -> str:
    try:
        return str(Digest.parse(str(record["digest"]))) if record and "digest" in record else ""
    except InvalidDigestError:
        return ""
