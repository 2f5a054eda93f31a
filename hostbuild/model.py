"""The values that the rooms of hostbuild hand to each other.

Frozen, without behaviour that touches disk, clock or environment. What crosses to a worker process
pickles: an `Entry` does not (it can open files) and so never crosses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, Literal, NamedTuple

from hostbuild.records import field, record

Pairs = tuple[tuple[str, str], ...]
EntryKind = Literal["file", "dir", "link"]

#: Owner of everything that belongs to the application (knative func's user).
USER_UID = 1000
USER_GID = 1000


@record
class Entry:
    """One name in a layer.

    `path` is relative to the image's root, with `/`, without a leading or trailing slash; bytes that
    are not UTF-8 are surrogate-escaped as `os.fsdecode` does. `mode` holds permission bits only.
    `size` is bytes (files). `target` is a link's raw text. `open` gives a file's bytes, from the
    start. `digest` is the SHA-256 (hex) that the bytes must have, or "" where they are not known
    beforehand. `origin` is what errors and logs call it: the path on the host, or where it came from.
    """

    path: str
    kind: EntryKind
    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    target: str = ""
    open: Callable[[], BinaryIO] | None = field(default=None, repr=False, compare=False)
    digest: str = ""
    origin: str = field(default="", compare=False)


@record
class Event:
    """One thing that happened, for people, for the log and for callers of the library.

    `kind` is one of the words below; `platform` is "" for what concerns the whole build; `data` holds
    JSON values only. Kinds: `start` and `done` (of a step, data: step), `progress`, `output` (a line
    that a tool printed), `entry` (a file that goes into a layer), `info`, `warning`, `waiting`,
    `tool` (data: pgid, argv), `tool-end` (data: pgid).
    """

    kind: str
    message: str = ""
    platform: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


EventCallback = Callable[[Event], None]


def ignore_event(event: Event) -> None:
    """The event callback of those who do not listen."""


class Output(NamedTuple):
    """One `-o/--output`, its fields as buildx names them.

    `kind` is "oci" or "docker" (written to `destination`, a path, or "-" for standard output; `tar`
    one file, else a layout directory), "registry" or "image" (pushed when `push`; `names` the references
    to push to, empty means the request's tags; `by_digest` gives no tag to what is pushed).
    """

    kind: str
    destination: str = ""
    tar: bool = False
    push: bool = False
    by_digest: bool = False
    names: tuple[str, ...] = ()


class Access(NamedTuple):
    """How registries and other servers are reached; complete, and small enough to cross to workers.

    `environment` gives proxies, certificates and the places of stored credentials. `verify` False
    accepts any certificate, and plain HTTP where TLS is not spoken. `ca_file` is trusted besides the
    system's. `credentials` are `(registry, "user:password")`. `mirrors` are `(registry,
    address[/prefix])`, tried in order before the registry itself, for pulls only. `retry_time` is how
    long, in seconds, one request may be tried again; `silence` after how many a silent peer is given up.
    Its repr shows no secret.
    """

    environment: Mapping[str, str] = {}
    verify: bool = True
    ca_file: str = ""
    authfile: str = ""
    credentials: Pairs = ()
    mirrors: Pairs = ()
    offline: bool = False
    retry_time: float = 120.0
    silence: float = 60.0

    def __repr__(self) -> str:
        return f"Access(verify={self.verify}, ca_file={self.ca_file!r}, mirrors={self.mirrors!r})"


DEFAULT_ACCESS = Access()


@record
class BuildRequest:
    """All that one build was asked for; complete: nothing else is read from files or environment.

    `load_request` of `hostbuild.settings` makes one out of flags, variables and the project's files.
    Paths are absolute or relative to the current directory. `tags` are references, the first names
    the image. `None` means "decide by what is found": `stamp` (functions are stamped), `ship_source`
    (functions ship), `jobs` (one a platform, bounded by the processors). Times are seconds;
    `created` is seconds since the epoch or None (the last commit's time, else the epoch). `base` is a
    reference, `oci:DIR`, `oci-archive:FILE`, `docker-archive:FILE` or `scratch`, "" the language's own
    choice; `pull` "always", "missing" or "never", "" what hostbuild.lock says, else always; `lock` records
    the base's digest in hostbuild.lock, `locked` takes it from there. `certificates` None means on scratch
    only. `cache_max_used_space` and `cache_min_free_space` are bytes, 0 no bound, None the default.
    `compression` is one of `layer.COMPRESSIONS`; its level None the default of that.
    """

    root: str
    tags: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ("linux/amd64", "linux/arm64", "linux/arm/v7")
    package: str = ""
    outputs: tuple[Output, ...] = ()
    base: str = ""
    pull: str = ""
    lock: bool = False
    locked: bool = False
    certificates: bool | None = None
    access: Access = DEFAULT_ACCESS
    name: str = ""
    runtime: str = ""
    invoke: str = ""
    env: Pairs = ()
    build_env: Pairs = ()
    labels: Pairs = ()
    annotations: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    user: str = ""
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()
    ship_source: bool | None = None
    gitignore: bool = False
    split: bool = True
    compression: str = "gzip"
    compression_level: int | None = None
    ldflags: str = ""
    build_tags: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    compile: bool = False
    stamp: bool | None = None
    created: int | None = None
    jobs: int | None = None
    no_cache: bool = False
    cache_dir: str = ""
    cache_max_used_space: int | None = None
    cache_min_free_space: int | None = None
    build_dir: str = ""
    wait: bool = False
    wait_timeout: float | None = None
    timeout: float | None = None
    keep_builds: int = 5
    log_entries: bool = False
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


class LayerSummary(NamedTuple):
    """One layer of a built image: what it is, its digest, its compressed size in bytes, and why."""

    name: str
    digest: str
    diff_id: str
    size: int
    media_type: str
    created_by: str
    key: str
    why: str


class PlatformResult(NamedTuple):
    """One platform's image: the digests of its manifest and config, and its layers in order.

    The base's layers come first, with `why` "base". `os_version` and `os_features` are the base's.
    """

    platform: str
    manifest: str
    manifest_size: int
    config: str
    config_size: int
    layers: tuple[LayerSummary, ...]
    os_version: str = ""
    os_features: tuple[str, ...] = ()


class BuildResult(NamedTuple):
    """What a build gave.

    `reference` is `NAME@sha256:…` (promise: no tag), `index_digest` the nested index's digest,
    `layout` the directory of the image layout, `status` "built" or "up-to-date", `tags` the full
    references asked for. `base` is the base image as it was named, "" on nothing; `absent` are the
    digests of its layers that only its registry has: the layout is sparse then (image-layout.md, "Blobs").
    """

    reference: str
    index_digest: str
    index_size: int
    layout: str
    build_id: str
    status: str
    tags: tuple[str, ...]
    platforms: tuple[PlatformResult, ...]
    warnings: tuple[str, ...] = ()
    base: str = ""
    absent: tuple[str, ...] = ()
