"""Opening an image on this machine by its kind and place, and telling the kind of a place."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from hostbuild.errors import LocalImageError
from hostbuild.local.files import DirectoryFiles
from hostbuild.local.image import LocalImage
from hostbuild.local.layouts import is_whole, open_layout
from hostbuild.local.places import find_place, listed
from hostbuild.oci.layout import INDEX_FILE, LAYOUT_FILE
from hostbuild.oci.quoting import quote

if TYPE_CHECKING:
    from hostbuild.layer.archive import ArchiveReader

Kind = Literal["oci", "oci-archive", "docker-archive"]

_FIX = "name an image layout, or an archive that docker save, buildx or skopeo wrote"


def open_local(kind: Kind, place: str) -> LocalImage:
    """The image at `place`: `PATH`, or `PATH:NAME` or `PATH@DIGEST` to choose one of several.

    "oci" is an image layout, "oci-archive" a tar file of one, "docker-archive" what docker save writes.
    Raises UsageError for what is no path; LocalImageError where nothing is there, where it is something
    else, damaged, several images and none chosen; InvalidDocumentError and CorruptBlobError for documents
    that are not what they should be; InvalidDigestError.
    """
    found = find_place(place)
    if kind == "oci":
        if os.path.isfile(found.path):
            raise LocalImageError(
                f"{found.path!r} is a file, not the directory of an image layout",
                fix="name an archive of a layout as oci-archive:FILE",
            )
        return open_layout(DirectoryFiles(found.path), found)
    archive = _open_archive(found.path)
    try:
        if kind == "oci-archive":
            return open_layout(archive, found)
        from hostbuild.local.docker_archives import open_docker_archive

        return open_docker_archive(archive, found)
    except BaseException:
        archive.close()
        raise


def guess_kind(place: str) -> Kind:
    """What is at `place`, by what it holds.

    An archive that is both, as docker save and `type=docker` write it, is taken for an archive of a layout,
    which may hold all platforms; unless manifests are missing in it.
    Raises what `open_local` does, and LocalImageError that says what it found instead of an image.
    """
    path = find_place(place).path
    if os.path.isdir(path):
        if os.path.isfile(os.path.join(path, LAYOUT_FILE)):
            return "oci"
        held = sorted(os.listdir(path))
        raise LocalImageError(
            f"{path!r} holds no image",
            why=f"it is a directory without {quote(LAYOUT_FILE)}"
            + (f"; in it is {listed(held)}" if held else ", and empty"),
            fix=_FIX,
        )
    from hostbuild.local.docker_archives import MANIFEST_FILE

    with _open_archive(path) as archive:
        is_layout = archive.size(LAYOUT_FILE) is not None and archive.size(INDEX_FILE) is not None
        is_saved = archive.size(MANIFEST_FILE) is not None
        if is_layout and (not is_saved or is_whole(archive)):
            return "oci-archive"
        if is_saved:
            return "docker-archive"
        held = sorted(archive.members)
    raise LocalImageError(
        f"{path!r} holds no image",
        why=f"it is a tar archive without {quote(LAYOUT_FILE)} and {quote(MANIFEST_FILE)}"
        + (f"; in it is {listed(held)}" if held else " or any file"),
        fix=_FIX,
    )


def _open_archive(path: str) -> ArchiveReader:
    if os.path.isdir(path):
        raise LocalImageError(
            f"{path!r} is a directory, not an archive", fix="name an image layout as oci:DIR"
        )
    from hostbuild.layer.archive import ArchiveReader

    return ArchiveReader(path)
