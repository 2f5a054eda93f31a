"""A blob whose bytes are wrong here is not blamed on the registry or the network."""

from __future__ import annotations

import hashlib
import json
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from hostbuild.errors import CorruptBlobError, ProtocolError, RegistryError
from hostbuild.model import Access
from hostbuild.oci.digest import Digest
from hostbuild.oci.media_types import OCI_MANIFEST
from hostbuild.pushing import push_place
from hostbuild.registry.damage import check_blob
from tests.registry.image import Client
from tests.registry.server import Handler, MemoryRegistry, status
from tests.registry.uploading import BLOB, DATA, UPLOAD, opener, push

WRONG = DATA[:-1] + bytes([DATA[-1] ^ 1])


def push_wrong(user: Client, registry: MemoryRegistry) -> str:
    return user.repository(f"{registry.address}/team/app:v1").push_blob(BLOB, opener(WRONG))


def test_the_blob_is_named_and_sent_only_once(user: Client, registry: MemoryRegistry) -> None:
    with pytest.raises(CorruptBlobError, match=str(BLOB.digest)) as caught:
        push_wrong(user, registry)
    assert str(Digest.of(WRONG)) in caught.value.what
    assert caught.value.fix
    assert registry.count_of("PUT") == 1


@pytest.mark.parametrize(("code", "word"), [(400, ""), (400, "BLOB_UPLOAD_INVALID"), (422, "SIZE_INVALID")])
def test_other_ways_to_refuse_it(user: Client, registry: MemoryRegistry, code: int, word: str) -> None:
    def refuse(handler: Handler) -> bool:
        handler.read_body()
        return handler.refuse(code, word)

    registry.fail("PUT", UPLOAD, refuse, times=100)
    with pytest.raises(CorruptBlobError):
        push_wrong(user, registry)
    assert registry.count_of("PUT") == 1


def test_a_right_one_is_read_once_and_the_registry_named(user: Client, registry: MemoryRegistry) -> None:
    def refuse(handler: Handler) -> bool:
        handler.read_body()
        return handler.refuse(400, "DIGEST_INVALID")

    registry.fail("PUT", UPLOAD, refuse, times=100)
    opened: list[int] = []

    def counting(offset: int) -> BytesIO:
        opened.append(offset)
        return BytesIO(DATA[offset:])

    with pytest.raises(RegistryError, match="DIGEST_INVALID"):
        user.repository(f"{registry.address}/team/app:v1").push_blob(BLOB, counting)
    assert len(opened) == registry.count_of("PUT") + 1


def test_a_registry_that_stored_something_else(user: Client, registry: MemoryRegistry) -> None:
    other = {"Docker-Content-Digest": str(Digest.of(WRONG))}
    registry.fail("PUT", UPLOAD, status(201, other), times=2)
    with pytest.raises(CorruptBlobError):
        push_wrong(user, registry)
    with pytest.raises(RegistryError, match="says that it stored"):
        push(user, registry)


def test_checking_reads_in_pieces() -> None:
    check_blob(BLOB, opener())
    with pytest.raises(CorruptBlobError):
        check_blob(BLOB, opener(WRONG))
    with pytest.raises(CorruptBlobError, match="ends 1 bytes before"):
        check_blob(BLOB, opener(DATA[:-1]))


@pytest.mark.parametrize("code", [200, 201, 204])
def test_an_upload_that_begins_in_another_way(user: Client, registry: MemoryRegistry, code: int) -> None:
    registry.fail("POST", "/blobs/uploads/", status(code))
    with pytest.raises(ProtocolError) as caught:
        push(user, registry)
    assert f"answered {code} " in caught.value.why
    assert "in place of 202 Accepted" in caught.value.why
    assert caught.value.fix


def test_a_damaged_archive_is_named(registry: MemoryRegistry, tmp_path: Path) -> None:
    def described(media_type: str, data: bytes) -> dict[str, object]:
        return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)}

    config = json.dumps(
        {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}}
    )
    layer = described("application/vnd.oci.image.layer.v1.tar", DATA)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": described("application/vnd.oci.image.config.v1+json", config.encode()),
            "layers": [layer],
        }
    ).encode()
    index = {"schemaVersion": 2, "manifests": [described(OCI_MANIFEST, manifest)]}
    files = {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps(index).encode(),
        **{f"blobs/sha256/{hashlib.sha256(data).hexdigest()}": data for data in (config.encode(), manifest)},
        f"blobs/sha256/{hashlib.sha256(DATA).hexdigest()}": WRONG,
    }
    path = tmp_path / "damaged.tar"
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, BytesIO(data))
    with pytest.raises(CorruptBlobError) as caught:
        push_place(str(path), [f"{registry.address}/team/app:v1"], Access())
    assert str(caught.value).startswith(f"{str(path)!r} is damaged: blob {layer['digest']}")
    assert "v1" not in registry.manifests.get("team/app", {})
