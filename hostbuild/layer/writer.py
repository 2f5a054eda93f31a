"""Writes a layer: entries in, compressed archive out, with both digests and sizes, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hostbuild.layer import header
from hostbuild.layer.content import copy_content
from hostbuild.layer.format import GZIP, Compression
from hostbuild.layer.members import Members, ParallelMembers
from hostbuild.layer.names import NameCheck, refused
from hostbuild.layer.pieces import Pieces
from hostbuild.model import Entry
from hostbuild.oci.digest import Digest
from hostbuild.records import record

# A link has no permissions of its own; what lstat gives for it on Linux is this.
_LINK_MODE = 0o777

#: More would wait for the one that reads files, and each takes memory: with so many, less than 100 MB in all.
MAX_THREADS = 32

# By the bytes in a file's last block: the zeros that fill it.
_PADDING = tuple(bytes(-used % header.BLOCK) for used in range(header.BLOCK))


@record
class LayerResult:
    """A written layer.

    `digest` and `size` (bytes) are those of the compressed blob, `diff_id` and `diff_size` those of the
    archive in it (image specification, config.md, "Layer DiffID"). `entries` counts the entries.
    """

    media_type: str
    digest: Digest
    size: int
    diff_id: Digest
    diff_size: int
    entries: int


def write_layer(
    entries: Iterable[Entry],
    write: Callable[[bytes], object],
    *,
    compression: Compression = GZIP,
    threads: int = 1,
    on_entry: Callable[[Entry], None] | None = None,
    digest: Callable[[], Digest] | None = None,
) -> LayerResult:
    """Writes the entries as one compressed tar archive to `write`, and says what it was.

    The entries must come in the order of their paths' bytes, each path once. The bytes depend on the
    entries and on `compression` only: the modification time is always 0, there are no user names, and
    `threads` changes the speed alone. `write` is called in this thread, in order. With `threads=1` no
    thread is started; with more, that many compress (at most `MAX_THREADS`). Memory is constant in the
    number and size of files. `on_entry` is told each entry after its bytes were read. `digest`
    gives the SHA-256 of all that `write` was given, where somebody makes it anyway.

    Raises SourceError for a path that is unsafe or out of order and for a file that cannot be read,
    SourceChangedError for a file that is not what its entry says (vanished, other size, other digest);
    both name the entry's origin; ToolMissingError for a compressor that is not installed. What was given to
    `write` until then is no layer: the caller drops it. What `write`, `on_entry` and `entries` raise passes
    through.
    """
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    compress = compression.function()
    size, hashed = compression.member_size, digest is None
    with (
        Members(write, compress, size, hashed=hashed)
        if threads == 1
        else ParallelMembers(write, compress, size, min(threads, MAX_THREADS), hashed=hashed) as sink
    ):
        count = put_entries(entries, sink, on_entry)
        sink.put(header.END)
        sink.finish()
    return LayerResult(
        media_type=compression.media_type,
        digest=digest() if digest else Digest("sha256", (sink.compressed or sink.archive).hexdigest()),
        size=sink.compressed_size,
        diff_id=Digest("sha256", sink.archive.hexdigest()),
        diff_size=sink.archive_size,
        entries=count,
    )


def put_entries(
    entries: Iterable[Entry], pieces: Pieces, on_entry: Callable[[Entry], None] | None = None
) -> int:
    """Puts the entries' headers and bytes into `pieces`, without the archive's end; how many there were.

    Raises as `write_layer` does.
    """
    check = NameCheck().check
    put = pieces.put
    count = 0
    for entry in entries:
        path = check(entry)
        if entry.kind == "file":
            size = entry.size
            put(_header(entry, path, header.FILE, size))
            copy_content(entry, pieces)
            if rest := size % header.BLOCK:
                put(_PADDING[rest])
        elif entry.kind == "dir":
            put(_header(entry, path, header.DIRECTORY))
        else:
            put(_header(entry, path, header.LINK, target=_target(entry)))
        count += 1
        if on_entry is not None:
            on_entry(entry)
    return count


def _header(entry: Entry, path: bytes, kind: bytes, size: int = 0, target: bytes = b"") -> bytes:
    try:
        owner = header.owner_fields(_LINK_MODE if kind == header.LINK else entry.mode, entry.uid, entry.gid)
        return header.header(path, kind, owner, size, target)
    except ValueError as error:
        raise refused(entry, str(error)) from error


def _target(entry: Entry) -> bytes:
    try:
        target = entry.target.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise refused(entry, "its target holds surrogates that stand for no byte") from error
    if not target or b"\0" in target:
        raise refused(entry, f"{entry.target!r} is no target of a link")
    return target
