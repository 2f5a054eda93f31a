"""Which image of a layout is meant, and its root (image specification, image-layout.md, "index.json")."""

from __future__ import annotations

from collections.abc import Sequence

from hostbuild.errors import InvalidDocumentError, LocalImageError
from hostbuild.local.files import Files
from hostbuild.local.image import LocalImage
from hostbuild.local.places import Place, chosen, listed
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from hostbuild.oci.index import Index
from hostbuild.oci.json import MAX_DOCUMENT, parse_object
from hostbuild.oci.layout import INDEX_FILE, LAYOUT_FILE, LAYOUT_VERSION, REFERENCE_NAME, blob_path
from hostbuild.oci.media_types import INDEXES, MANIFESTS, OCI_INDEX
from hostbuild.oci.quoting import describe, quote
from hostbuild.records import replace

#: What containerd, and docker save, write beside a bare tag: the full reference.
CONTAINERD_NAME = "io.containerd.image.name"
_NAMES = (CONTAINERD_NAME, REFERENCE_NAME)
_UNKNOWN = "unknown"


def open_layout(files: Files, place: Place) -> LocalImage:
    """The image of the layout in `files` that `place` chooses, or its only one.

    Platform manifests that stand in index.json one beside the other, without names or with one and the
    same, are one image: its root is then an index of these, made for it, the same for the same manifests.

    Raises LocalImageError where this is no layout, has no image, several, or not the one asked for;
    InvalidDocumentError where its documents are none.
    """
    described = read_index(files).manifests
    if place.digest is not None:
        found = _by_digest(files, described, place.digest)
    elif place.name:
        found = [described[at] for at in chosen(place.name, map(names_of, described))]
    else:
        found = list(described)
    if not found:
        raise _absent(files, described, place)
    root, made = _root(files, found)
    names = [name for each in found for name in names_of(each)]
    name = place.name if place.name in names else next(iter(names), "")
    return LocalImage(files, root, name=name, locate=blob_path, made=made)


def read_index(files: Files) -> Index:
    """The layout's index.json. Raises LocalImageError where this is no layout, InvalidDocumentError."""
    for name in (LAYOUT_FILE, INDEX_FILE):
        if files.size(name) is None:
            raise LocalImageError(
                f"{files.path!r} is not an image layout",
                why=f"it has no file {quote(name)}",
                fix="name an archive of docker save as docker-archive:FILE"
                if files.size("manifest.json") is not None
                else "name an image layout, as the image specification has it",
            )
    where = f"{INDEX_FILE} of {files.path!r}"
    marker = parse_object(files.read(LAYOUT_FILE, MAX_DOCUMENT), f"{LAYOUT_FILE} of {files.path!r}")
    version = marker.get("imageLayoutVersion")
    if version != LAYOUT_VERSION:
        raise InvalidDocumentError(
            f"{files.path!r} is an image layout of version {describe(version)}",
            why=f"only {LAYOUT_VERSION} is read",
        )
    return Index.decode(files.read(INDEX_FILE, MAX_DOCUMENT), where)


def is_whole(files: Files) -> bool:
    """Whether all manifests are there, those in nested indexes too.

    `docker save` may write an index of all platforms with the manifest of one. Raises as `read_index`.
    """
    for each in read_index(files).manifests:
        image = _image_of(files, each)
        if not image.has(each):
            return False
        if each.media_type in INDEXES:
            nested = Index.decode(image.read(each), str(each.digest))
            if not all(image.has(child) for child in nested.manifests):
                return False
    return True


def names_of(descriptor: Descriptor) -> tuple[str, ...]:
    """The names that index.json gives an image, the fullest first."""
    return tuple(name for key in _NAMES if (name := descriptor.annotations.get(key)))


def _image_of(files: Files, root: Descriptor) -> LocalImage:
    return LocalImage(files, root, name="", locate=blob_path, made={})


def _by_digest(files: Files, described: Sequence[Descriptor], digest: Digest) -> list[Descriptor]:
    """What index.json lists with this digest, or an index that it lists."""
    if found := [each for each in described if each.digest == digest]:
        return found
    for each in described:
        if each.media_type in INDEXES:
            nested = Index.decode(_image_of(files, each).read(each), str(each.digest))
            if found := [child for child in nested.manifests if child.digest == digest]:
                return found
    return []


def _root(files: Files, found: Sequence[Descriptor]) -> tuple[Descriptor, dict[Digest, bytes]]:
    distinct = list({each.digest: each for each in reversed(found)}.values())[::-1]
    if len(distinct) == 1:
        return _checked(files, distinct[0]), {}
    if not _are_platforms(distinct):
        raise _several(files, distinct)
    # Names are this layout's, and must not change the image's digest.
    children = tuple(
        replace(each, annotations={key: text for key, text in each.annotations.items() if key not in _NAMES})
        for each in distinct
    )
    data = Index(manifests=children).encode()
    root = Descriptor.of(OCI_INDEX, data)
    return root, {root.digest: data}


def _checked(files: Files, root: Descriptor) -> Descriptor:
    if root.media_type in INDEXES | MANIFESTS:
        return root
    raise LocalImageError(
        f"{files.path!r} holds no image",
        why=f"{root.digest} is {quote(root.media_type)}, neither an index nor a manifest",
        fix="use another image",
    )


def _are_platforms(found: Sequence[Descriptor]) -> bool:
    """Whether these are the manifests of one image: each for a platform of its own, and no second name."""
    if any(each.media_type not in MANIFESTS or each.platform is None for each in found):
        return False
    if len({names_of(each) for each in found}) > 1:
        return False
    # Attestations stand beside the images, all with the platform unknown/unknown.
    platforms = [each.platform for each in found if each.platform and each.platform.os != _UNKNOWN]
    return len(set(platforms)) == len(platforms) > 0


def _shown(each: Descriptor) -> str:
    return next(iter(names_of(each)), str(each.digest))


def _several(files: Files, found: Sequence[Descriptor]) -> LocalImageError:
    texts = [_shown(each) for each in found]
    if len(set(texts)) < len(texts):  # one name for several: only digests tell them apart
        texts = [str(each.digest) for each in found]
    mark = "@" if texts[0].startswith(("sha256:", "sha512:")) else ":"
    return LocalImageError(
        f"{files.path!r} holds {len(found)} images",
        why=f"they are {listed(texts)}",
        fix=f"choose one: write {quote(mark + texts[0])} after the path",
    )


def _absent(files: Files, described: Sequence[Descriptor], place: Place) -> LocalImageError:
    if not described:
        return LocalImageError(
            f"{files.path!r} holds no image", why="its index.json names none", fix="use another image"
        )
    return LocalImageError(
        f"{files.path!r} holds no image {quote(str(place.digest or place.name))}",
        why=f"it has {listed(map(_shown, described))}",
        fix="choose one of these" if len(described) > 1 else f"write {files.path!r} alone",
    )
