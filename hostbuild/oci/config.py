"""Image configs (image specification, config.md): platform, how to run, layers, history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hostbuild.errors import InvalidDocumentError
from hostbuild.oci.digest import Digest
from hostbuild.oci.fields import Fields, present
from hostbuild.oci.json import FIX, canonical, parse_object
from hostbuild.oci.platform import Platform
from hostbuild.oci.quoting import describe
from hostbuild.records import field, record


@record(slots=True)
class History:
    """How one layer came to be; `empty_layer` is an entry that has no layer."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    @classmethod
    def from_json(cls, document: object, where: str = "history") -> History:
        """The entry in a JSON object. Raises InvalidDocumentError."""
        fields = Fields(document, where)
        return cls(
            created=fields.text("created"),
            created_by=fields.text("created_by"),
            author=fields.text("author"),
            comment=fields.text("comment"),
            empty_layer=fields.flag("empty_layer"),
            extra=fields.rest(),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object, unknown fields as they came."""
        return {
            **self.extra,
            **present(
                created=self.created,
                created_by=self.created_by,
                author=self.author,
                comment=self.comment,
                empty_layer=self.empty_layer,
            ),
        }


@record(slots=True)
class RunConfig:
    """How a container is started: the config's `config`.

    `env` holds texts `NAME=VALUE`; `entrypoint` and `cmd` are None where the image says nothing.
    `extra` holds Docker's further fields, such as Healthcheck and Shell.
    """

    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    volumes: tuple[str, ...] = ()
    working_dir: str = ""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    stop_signal: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    @classmethod
    def from_json(cls, document: object, where: str = "config") -> RunConfig:
        """The run config in a JSON object. Raises InvalidDocumentError."""
        fields = Fields(document, where)
        return cls(
            user=fields.text("User"),
            exposed_ports=fields.name_set("ExposedPorts"),
            env=fields.texts("Env") or (),
            entrypoint=fields.texts("Entrypoint"),
            cmd=fields.texts("Cmd"),
            volumes=fields.name_set("Volumes"),
            working_dir=fields.text("WorkingDir"),
            labels=fields.text_map("Labels"),
            stop_signal=fields.text("StopSignal"),
            extra=fields.rest(),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object, unknown fields as they came."""
        return {
            **self.extra,
            **present(
                User=self.user,
                ExposedPorts={port: {} for port in self.exposed_ports},
                Env=list(self.env),
                Entrypoint=list(self.entrypoint or ()),
                Cmd=list(self.cmd or ()),
                Volumes={path: {} for path in self.volumes},
                WorkingDir=self.working_dir,
                Labels=dict(self.labels),
                StopSignal=self.stop_signal,
            ),
        }


@record(slots=True)
class RootFS:
    """The digests of the layers' uncompressed archives, the lowest first."""

    diff_ids: tuple[Digest, ...]
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    @classmethod
    def from_json(cls, document: object, where: str = "rootfs") -> RootFS:
        """The rootfs in a JSON object. Raises InvalidDocumentError, also for a type other than `layers`."""
        fields = Fields(document, where)
        kind = fields.text("type")
        if kind != "layers":
            raise InvalidDocumentError(
                f"{where}.type is {describe(kind)}", why="it must be 'layers'", fix=FIX
            )
        return cls(diff_ids=fields.digests("diff_ids"), extra=fields.rest())

    def to_json(self) -> dict[str, Any]:
        """The JSON object, unknown fields as they came."""
        return {**self.extra, "type": "layers", "diff_ids": [str(diff_id) for diff_id in self.diff_ids]}


@record(slots=True)
class ImageConfig:
    """One platform's image config. `created` is RFC 3339 text, or ""."""

    platform: Platform
    rootfs: RootFS
    config: RunConfig = field(default_factory=RunConfig)
    history: tuple[History, ...] = ()
    created: str = ""
    author: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    @classmethod
    def decode(cls, data: bytes, where: str = "image config") -> ImageConfig:
        """The config that the bytes are. Raises InvalidDocumentError."""
        return cls.from_json(parse_object(data, where), where)

    @classmethod
    def from_json(cls, document: object, where: str = "image config") -> ImageConfig:
        """The config in a JSON object. Raises InvalidDocumentError."""
        fields = Fields(document, where)
        return cls(
            platform=Platform.from_fields(fields),
            rootfs=fields.required_child("rootfs", RootFS.from_json),
            config=fields.child("config", RunConfig.from_json) or RunConfig(),
            history=fields.children("history", History.from_json),
            created=fields.text("created"),
            author=fields.text("author"),
            extra=fields.rest(),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object, unknown fields as they came."""
        return {
            **self.extra,
            **self.platform.to_json(),
            "rootfs": self.rootfs.to_json(),
            **present(
                config=self.config.to_json(),
                history=[entry.to_json() for entry in self.history],
                created=self.created,
                author=self.author,
            ),
        }

    def encode(self) -> bytes:
        """The canonical bytes. Raises InvalidValueError for text that is not Unicode."""
        return canonical(self.to_json())
