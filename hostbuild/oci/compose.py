"""How a config, a manifest and an index come out of layers: the only place that knows it.

The modules of these documents are loaded when something is composed: a build that is up to date needs none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from hostbuild.errors import InvalidPlatformError, InvalidValueError
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from hostbuild.oci.fields import Pairs
from hostbuild.oci.media_types import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from hostbuild.oci.platform import Platform
from hostbuild.oci.quoting import quote
from hostbuild.records import record, replace

if TYPE_CHECKING:
    from hostbuild.oci.config import History, ImageConfig, RunConfig
    from hostbuild.oci.manifest import Manifest

DEFAULT_USER = "1000:1000"
#: What Docker gives a container whose image sets no PATH.
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"


@record(slots=True)
class LayerRef:
    """A layer that is in the store; `created_by` and `comment` are what the history says of it."""

    descriptor: Descriptor
    diff_id: Digest
    created_by: str
    comment: str = ""


@record
class ImageSpec:
    """What one platform's image is to be.

    `created` is RFC 3339 in UTC with Z. `layers` are ours, the lowest first. `env` is hostbuild's own,
    `user_env` wins over it. `user` is used where the base sets none, or with `force_user`; "" means the
    default. `ports` are `8080/tcp` or `8080`; `volumes` absolute paths. "" for `working_dir` or
    `stop_signal` leaves the base's. `annotations` are the manifest's, `descriptor_annotations` those
    of its descriptor.
    """

    platform: Platform
    created: str
    layers: tuple[LayerRef, ...]
    env: Pairs = ()
    user_env: Pairs = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    user: str = DEFAULT_USER
    force_user: bool = False
    ports: tuple[str, ...] = ()
    working_dir: str = "/func"
    stop_signal: str = "SIGTERM"
    volumes: tuple[str, ...] = ()
    labels: Pairs = ()
    annotations: Pairs = ()
    descriptor_annotations: Pairs = ()


@record(slots=True)
class BaseImage:
    """One platform's base image.

    `name` is its full reference and `digest` the digest that this names, as the annotations
    `org.opencontainers.image.base.*` have them; "" leaves the annotation out.
    """

    config: ImageConfig
    manifest: Manifest
    name: str = ""
    digest: str = ""


@record(slots=True)
class ComposedImage:
    """The bytes of an image's two documents, and what points to them; the manifest's tells its platform."""

    config: bytes
    config_descriptor: Descriptor
    manifest: bytes
    manifest_descriptor: Descriptor


def compose_image(spec: ImageSpec, base: BaseImage | None) -> ComposedImage:
    """The image of `spec`'s layers above those of `base` (None: on nothing).

    Raises InvalidPlatformError where the base is for other machines, InvalidDocumentError where it
    contradicts itself, InvalidValueError for values that an image cannot hold.
    """
    from hostbuild.oci.base import lasting_fields, layers_of
    from hostbuild.oci.config import ImageConfig, RootFS
    from hostbuild.oci.manifest import Manifest

    if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", spec.created, re.ASCII) is None:
        raise InvalidValueError(
            f"{quote(spec.created)} is not a time that an image can have",
            why="it must be RFC 3339, in UTC, in whole seconds, and in a year of four digits",
            fix="give a time such as 2024-05-01T12:00:00Z (SOURCE_DATE_EPOCH=1714564800)",
        )
    below, diff_ids, history = layers_of(base, spec.created) if base else ((), (), ())
    if not spec.layers and not below:
        raise InvalidValueError(
            "the image has no layers",
            why="the image specification asks for one at least",
            fix="ship a file, or use a base image",
        )
    platform = _platform(spec.platform, base)
    config = ImageConfig(
        platform=platform,
        rootfs=RootFS((*diff_ids, *(layer.diff_id for layer in spec.layers))),
        config=_run_config(spec, base),
        history=(*history, *(_history(layer, spec.created) for layer in spec.layers)),
        created=spec.created,
        author=base.config.author if base else "",
        extra=lasting_fields(base.config) if base else {},
    ).encode()
    config_descriptor = Descriptor.of(OCI_CONFIG, config)
    manifest = Manifest(
        config=config_descriptor,
        layers=(*below, *(layer.descriptor for layer in spec.layers)),
        annotations={**_base_annotations(base), **dict(spec.annotations)},
    ).encode()
    descriptor = Descriptor.of(OCI_MANIFEST, manifest, platform=platform)
    return ComposedImage(
        config,
        config_descriptor,
        manifest,
        replace(descriptor, annotations=dict(spec.descriptor_annotations)),
    )


def check_spec(spec: ImageSpec, base: BaseImage | None = None) -> None:
    """Raises, as composing would, for what the image cannot be; our own layers may be missing yet."""
    from hostbuild.oci.base import layers_of

    if base is not None:
        _platform(spec.platform, base)
        layers_of(base, spec.created)
    _run_config(spec, base)


def compose_index(
    children: Iterable[Descriptor], annotations: Pairs | Mapping[str, str] = ()
) -> tuple[bytes, Descriptor]:
    """The image index of one manifest for each platform, in the order given: its bytes and its descriptor.

    Raises InvalidValueError for no manifest, one without a platform, or two for one platform.
    """
    from hostbuild.oci.index import Index

    manifests = tuple(children)
    if not manifests:
        raise InvalidValueError(
            "the image has no platform", why="an index names one manifest at least", fix="name linux/amd64"
        )
    seen: set[Platform] = set()
    for child in manifests:
        if child.platform is None:
            raise InvalidValueError(
                f"the manifest {child.digest} has no platform",
                why="nobody could tell which machines it is for",
                fix="give its descriptor a platform",
            )
        if child.platform in seen:
            raise InvalidValueError(
                f"the image has two manifests for {child.platform}",
                why="the second one would never be used",
                fix="name each platform once",
            )
        seen.add(child.platform)
    data = Index(manifests=manifests, annotations=dict(annotations)).encode()
    return data, Descriptor.of(OCI_INDEX, data)


def _platform(wanted: Platform, base: BaseImage | None) -> Platform:
    """The wanted platform, with the base's version and features of the operating system."""
    if base is None:
        return replace(wanted, extra={})
    has = base.config.platform
    if not wanted.runs(has):
        named = f"the base image {quote(base.name)}" if base.name else "the base image"
        raise InvalidPlatformError(
            f"{named} cannot be used for {quote(str(wanted))}",
            why=f"its config says that it is for {quote(str(has))}",
            fix=f"leave {wanted} out, or use a base image that has it",
            platform=str(wanted),
        )
    return replace(
        wanted,
        os_version=wanted.os_version or has.os_version,
        os_features=wanted.os_features or has.os_features,
        extra={},
    )


def _run_config(spec: ImageSpec, base: BaseImage | None) -> RunConfig:
    """The base's, cleared of its command, with what is asked for.

    A label, port or volume of the base stays; Entrypoint and Cmd go together, so both are cleared.
    """
    from hostbuild.oci.base import lasting_fields
    from hostbuild.oci.config import RunConfig

    below = base.config.config if base else RunConfig()
    wanted = spec.user or DEFAULT_USER
    return replace(
        below,
        user=wanted if spec.force_user or not below.user else below.user,
        exposed_ports=_merged(below.exposed_ports, map(_port, spec.ports)),
        env=_env(spec, below.env, scratch=base is None),
        entrypoint=spec.entrypoint,
        cmd=spec.cmd,
        volumes=_merged(below.volumes, map(_volume, spec.volumes)),
        working_dir=spec.working_dir or below.working_dir,
        labels={**below.labels, **dict(spec.labels)},
        stop_signal=spec.stop_signal or below.stop_signal,
        extra=lasting_fields(below),
    )


def _merged(below: Iterable[str], ours: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({*below, *ours}))


def _env(spec: ImageSpec, below: Iterable[str], *, scratch: bool) -> tuple[str, ...]:
    """`NAME=VALUE` with no name twice: each where it stood first, with the value that came last."""
    found: dict[str, str] = {"PATH": f"PATH={DEFAULT_PATH}"} if scratch else {}
    for text in below:
        if "\0" in text or not text.partition("=")[0]:
            raise InvalidValueError(
                f"the base image sets {quote(text)} in its environment",
                why="it has a zero byte or no name, and no container could be started with it",
                fix="use another base image",
            )
        found[text.partition("=")[0]] = text
    for name, value in (*spec.env, *spec.user_env):
        if not name or "=" in name or "\0" in name + value:
            raise InvalidValueError(
                f"{quote(name)} cannot be set in the image's environment",
                why="a name has a character or more and no =, and neither name nor value has NUL",
                fix="write the variable as NAME=VALUE",
            )
        found[name] = f"{name}={value}"
    return tuple(found.values())


def _port(text: str) -> str:
    """`port/protocol`, tcp where it is not told (config.md, "ExposedPorts")."""
    number, _, protocol = text.partition("/")
    known = protocol or ("tcp" if "/" not in text else "")
    fits = re.fullmatch("[1-9][0-9]{0,4}", number) is not None and int(number) <= 65535
    if not fits or known not in {"tcp", "udp", "sctp"}:
        raise InvalidValueError(
            f"{quote(text)} is not a port",
            why="a port is 1 to 65535, with /tcp, /udp or /sctp or without",
            fix="write 8080 or 8080/tcp",
        )
    return f"{number}/{known}"


def _volume(text: str) -> str:
    if not text.startswith("/") or "\0" in text:
        raise InvalidValueError(
            f"{quote(text)} is not a volume", why="it is not an absolute path", fix="write it as /data"
        )
    return text


def _history(layer: LayerRef, created: str) -> History:
    from hostbuild.oci.config import History

    return History(created=created, created_by=layer.created_by or "hostbuild", comment=layer.comment)


def _base_annotations(base: BaseImage | None) -> dict[str, str]:
    if base is None:
        return {}
    named = {BASE_NAME: base.name, BASE_DIGEST: base.digest}
    return {key: value for key, value in named.items() if value}
