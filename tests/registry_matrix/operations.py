"""The operations of the matrix: what is prepared, what hostbuild does, and how its work is judged."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from hostbuild.oci.reference import Reference
from hostbuild.registry import Registries, push
from hostbuild.store.cache import Cache
from tests.registry_matrix.house import Stage, random_bytes
from tests.rig.handmade import tar_of
from tests.rig.layout import CONFIG, INDEX, LAYER, MANIFEST
from tests.rig.raw import Raw, descriptor, digest_of

PUSHED_SIZE = 2_200_000
#: More than hostbuild reads ahead before it looks at an answer: a break in it is resumed.
PULLED_SIZE = 5_000_000


@dataclass
class Prepared:
    """What one cell works with: `blobs` are layers, `documents` manifests by digest, the root last."""

    repository: str
    blobs: list[bytes] = field(default_factory=list)
    configs: list[bytes] = field(default_factory=list)
    documents: dict[str, tuple[bytes, str]] = field(default_factory=dict)

    @property
    def blob_digests(self) -> list[str]:
        return [digest_of(data) for data in self.blobs]

    @property
    def root(self) -> Descriptor:
        data, media_type = list(self.documents.values())[-1]
        return Descriptor.of(media_type, data)

    def put_blobs(self, raw: Raw) -> None:
        for data in (*self.blobs, *self.configs):
            raw.put_blob(self.repository, data)

    def put_all(self, raw: Raw) -> None:
        self.put_blobs(raw)
        for digest, (data, media_type) in self.documents.items():
            target = f"/v2/{self.repository}/manifests/{digest}"
            raw.good("PUT", target, data, {"Content-Type": media_type})

    def add(self, document: Mapping[str, Any], media_type: str) -> dict[str, Any]:
        data = json.dumps(document).encode()
        made = descriptor(data, media_type)
        self.documents[made["digest"]] = (data, media_type)
        return made

    def add_image(self, architecture: str, layers: Sequence[bytes]) -> dict[str, Any]:
        """An image whose layers hold one file each; layers that are here already are shared."""
        archives = [tar_of({f"f{number}": data}) for number, data in enumerate(layers)]
        packed = [gzip.compress(archive, 1, mtime=0) for archive in archives]
        self.blobs += [data for data in packed if data not in self.blobs]
        config = json.dumps(
            {
                "os": "linux",
                "architecture": architecture,
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [digest_of(archive) for archive in archives]},
                "history": [{"created_by": "test"} for _ in archives],
            }
        ).encode()
        self.configs.append(config)
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(config, CONFIG),
            "layers": [descriptor(data, LAYER + "+gzip") for data in packed],
        }
        target = {"os": "linux", "architecture": architecture}
        return {**self.add(document, MANIFEST), "platform": target}


def prepare(operation: str, stage: Stage) -> Prepared:
    """Make the content, and put into the registry what must be there before."""
    made = Prepared(stage.repository)
    if operation in ("pull blob", "push blob"):
        made.blobs.append(random_bytes(PULLED_SIZE if operation == "pull blob" else PUSHED_SIZE))
        if operation == "pull blob":
            made.put_blobs(stage.house.back_door)
    elif operation == "whole push":
        shared = random_bytes(PUSHED_SIZE)
        manifests = [made.add_image(arch, [shared, random_bytes(200_000)]) for arch in ("amd64", "arm64")]
        made.add({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}, INDEX)
    else:
        made.add_image("amd64", [random_bytes(1000)])
        made.put_blobs(stage.house.back_door)
        if operation == "pull manifest":
            made.put_all(stage.house.back_door)
            data, media_type = made.documents[str(made.root.digest)]
            target = f"/v2/{stage.repository}/manifests/v1"
            stage.house.back_door.good("PUT", target, data, {"Content-Type": media_type})
    return made


@dataclass
class Content:
    """What is pushed, from memory, as the interface of a push asks for it."""

    prepared: Prepared
    sources: tuple[Reference, ...]

    def read(self, wanted: Descriptor) -> bytes:
        known = {digest: data for digest, (data, _) in self.prepared.documents.items()}
        known |= {digest_of(data): data for data in (*self.prepared.blobs, *self.prepared.configs)}
        return known[str(wanted.digest)]

    def open(self, wanted: Descriptor, offset: int) -> BinaryIO:
        return io.BytesIO(self.read(wanted)[offset:])

    def origins(self, wanted: Descriptor) -> tuple[Reference, ...]:
        return self.sources if str(wanted.digest) in self.prepared.blob_digests else ()


Run = Callable[[Stage, Prepared, Registries], Any]


def pull_manifest(stage: Stage, prepared: Prepared, registries: Registries) -> Any:
    identifier = str(prepared.root.digest) if stage.manifest_by_digest else "v1"
    return registries.repository(stage.reference).manifest(identifier)


def pull_blob(stage: Stage, prepared: Prepared, registries: Registries) -> Any:
    wanted = Descriptor.of(LAYER, prepared.blobs[0])
    cache = Cache(stage.directory / "cache")
    with cache.blobs.writer() as writer:
        registries.repository(stage.reference).fetch(wanted, writer.write)
        writer.commit(wanted.digest, wanted.size)


def push_blob(stage: Stage, prepared: Prepared, registries: Registries) -> Any:
    data = prepared.blobs[0]
    wanted = Descriptor.of(LAYER, data)
    return registries.repository(stage.reference).push_blob(
        wanted, lambda offset: io.BytesIO(data[offset:]), mount_from=stage.mount_from
    )


def push_manifest(stage: Stage, prepared: Prepared, registries: Registries) -> Any:
    data, media_type = prepared.documents[str(prepared.root.digest)]
    registries.repository(stage.reference).put_manifest("v1", data, media_type)


def whole_push(stage: Stage, prepared: Prepared, registries: Registries) -> Any:
    address = stage.proxy.address
    sources = tuple(Reference.parse(f"{address}/{name}:x") for name in stage.mount_from)
    content = Content(prepared, sources)
    return push(registries, prepared.root, content, [stage.reference], on_event=stage.events.append)


RUNS: dict[str, Run] = {
    "pull manifest": pull_manifest,
    "pull blob": pull_blob,
    "push blob": push_blob,
    "push manifest": push_manifest,
    "whole push": whole_push,
}


def check_right(operation: str, stage: Stage, prepared: Prepared, result: Any, *, moved: bool) -> None:
    """The operation said that it succeeded: the bytes must be there, and be the right ones."""
    raw = stage.house.back_door
    if operation == "pull manifest":
        found, data = result
        expected = raw.good("GET", f"/v2/{stage.repository}/manifests/v1").body
        assert data == expected
        assert found.digest == Digest.of(expected)
        assert found.size == len(expected)
        assert (found == prepared.root) is not moved
    elif operation == "pull blob":
        wanted = Descriptor.of(LAYER, prepared.blobs[0])
        Cache(stage.directory / "cache").blobs.verify(wanted.digest, wanted.size)
    elif operation == "push blob":
        assert (
            raw.good("GET", f"/v2/{stage.repository}/blobs/{prepared.blob_digests[0]}").body
            == prepared.blobs[0]
        )
    else:
        tagged = raw.good("GET", f"/v2/{stage.repository}/manifests/v1").body
        assert Digest.of(tagged) == prepared.root.digest
        stage.house.puller.validate(f"{raw.address}/{stage.repository}:v1")


def check_cache(stage: Stage) -> None:
    """Every file under a blob's name has that blob's bytes."""
    directory = stage.directory / "cache/blobs"
    for path in directory.rglob("*"):
        if path.is_file():
            assert digest_of(path.read_bytes()) == f"{path.parent.parent.name}:{path.name}"


def check_nothing_half(stage: Stage) -> None:
    """After an error: the tag is absent, or all that it names is there."""
    raw = stage.house.back_door
    if not raw.has_tag(stage.repository, "v1"):
        return
    stage.house.puller.validate(f"{raw.address}/{stage.repository}:v1")
