"""Content-addressed blobs: one write path, from a locked temp file to the final name.

Temp file, hash while writing, verify digest and size, sync, rename, sync the directory: a final name
exists only for bytes that were verified and are on the disk. Presence is still not trusted blindly: a
blob of the wrong size counts as absent and is replaced, and whoever reads one whole verifies it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from types import TracebackType
from typing import BinaryIO, Self

from hostbuild.errors import CorruptBlobError, StoreError
from hostbuild.oci.digest import Digest
from hostbuild.points import reach
from hostbuild.store.claims import Claims, lock_sweep, remove_same
from hostbuild.store.failures import Explaining, explain_os_error
from hostbuild.store.hashing import HashingThread
from hostbuild.store.syncing import begin_writing_back, sync_directory
from hostbuild.store.tempfiles import TempFile

_PIECE = 1 << 20
#: Bytes after which the disk is told to begin: the sync at the end then has little left to wait for.
_WRITE_BACK = 8 << 20
#: Bytes of a piece from which handing it to a thread and back is worth it: some 0.1 ms of hashing.
_WORTH_A_THREAD = 256 << 10
BLOB_MODE = 0o444


class BlobStore:
    """Blobs below `directory`, as `<algorithm>/<first 2 hex>/<hex>`; temp files in `temp`, same disk.

    `owner` names this process in temp files (`TempFile`); `claims` keeps from prunes what it uses.
    """

    def __init__(self, directory: str, temp: str, owner: str, claims: Claims) -> None:
        self.directory = directory
        self.claims = claims
        self._temp = temp
        self._owner = owner
        #: What this process has claimed, with sizes in bytes.
        self.claimed: dict[Digest, int] = {}

    def path(self, digest: Digest) -> str:
        """Where the blob is, or would be."""
        return f"{self.directory}/{digest.algorithm}/{digest.hex[:2]}/{digest.hex}"

    def has(self, digest: Digest, size: int) -> bool:
        """Whether the blob is here as a plain file of `size` bytes. Does not read it.

        For looks only: a prune may remove it at once. Who will use it asks `claim`.
        """
        return _is_here(self.path(digest), size)

    def claim(self, digest: Digest, size: int) -> bool:
        """As `has`; what is here is also kept from prunes from now on, until the claims end.

        In a cache that is read-only it is no more than `has`. Raises `StoreError`.
        """
        path = self.path(digest)
        if not _is_here(path, size):
            return False
        if self.claimed.get(digest) == size:
            return True
        with Explaining("claim a blob", self.directory):
            if not self.claims.claim(path, lambda found: _fits(found, size)):
                return False
        self.claimed[digest] = size
        return True

    def writer(self, algorithm: str = "sha256", *, beside: bool = False) -> BlobWriter:
        """A writer for one blob whose digest is of `algorithm`; a context manager. Raises `StoreError`.

        `beside`: large pieces are hashed on a thread while they are written, for who has nothing else to do
        meanwhile.
        """
        self.claims.begin()
        return BlobWriter(self, TempFile(self._temp, self._owner), algorithm, beside=beside)

    def put(self, data: bytes) -> tuple[Digest, int]:
        """Store and claim `data`; its digest (sha256) and size in bytes. Raises `StoreError`."""
        digest = Digest.of(data)
        if not self.claim(digest, len(data)):
            with self.writer() as writer:
                writer.write(data)
                writer.commit(digest, len(data))
        return digest, len(data)

    def open(self, digest: Digest) -> BinaryIO:
        """The blob, open for reading, not verified. Raises `StoreError` when it is not there."""
        path = self.path(digest)
        try:
            return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
        except FileNotFoundError as error:
            raise StoreError(
                f"blob {digest} is not in the cache", why="it was removed or never made", fix="build again"
            ) from error
        except OSError as error:
            raise explain_os_error(error, "read a blob", os.path.dirname(path)) from error

    def read(self, digest: Digest, size: int) -> bytes:
        """The blob's bytes, verified: for manifests and configs, not for layers.

        Raises `CorruptBlobError` when digest or size is wrong (then `discard` it and make it anew),
        `StoreError` when it is absent.
        """
        with self.open(digest) as stream, Explaining("read a blob", os.path.dirname(self.path(digest))):
            data = stream.read(size + 1)
        if len(data) != size or hashlib.new(digest.algorithm, data).hexdigest() != digest.hex:
            raise _corrupt(digest, self.path(digest))
        return data

    def verify(self, digest: Digest, size: int) -> None:
        """Read the whole blob, in constant memory. Raises as `read` does."""
        hasher = hashlib.new(digest.algorithm)
        count = 0
        with self.open(digest) as stream, Explaining("read a blob", os.path.dirname(self.path(digest))):
            while piece := stream.read(_PIECE):
                hasher.update(piece)
                count += len(piece)
        if count != size or hasher.hexdigest() != digest.hex:
            raise _corrupt(digest, self.path(digest))

    def drop_if_damaged(self, digest: Digest) -> bool:
        """Read the blob whole, and remove it if it is not what its name says; whether it was removed.

        A good one that another process puts there meanwhile stays. Raises `StoreError`.
        """
        path = self.path(digest)
        with Explaining("read a blob", os.path.dirname(path)):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
            except FileNotFoundError:
                return False
            except OSError:
                return self.discard(digest)  # a link
            try:
                if _is_whole(descriptor, digest):
                    return False
                self.claimed.pop(digest, None)
                return remove_same(self.claims.sweep_lock, path, descriptor)
            finally:
                os.close(descriptor)

    def discard(self, digest: Digest) -> bool:
        """Remove the blob's name, so that it is made anew; False when it had none. Raises `StoreError`.

        Layouts that hold a hard link to it keep their bytes.
        """
        path = self.path(digest)
        with Explaining("remove a corrupt blob", os.path.dirname(path)):
            descriptor = lock_sweep(self.claims.sweep_lock, shared=False)
            try:
                os.unlink(path)
            except FileNotFoundError:
                return False
            finally:
                os.close(descriptor)
                self.claimed.pop(digest, None)
        return True


class BlobWriter:
    """One blob on its way into the store. Leaving its `with` block without `commit` drops the bytes."""

    def __init__(self, store: BlobStore, temp: TempFile, algorithm: str, *, beside: bool = False) -> None:
        self._store = store
        self._temp = temp
        self._algorithm = algorithm
        self._hasher = hashlib.new(algorithm)
        self._thread = HashingThread(self._hasher.update) if beside else None
        self.size = 0
        self._begun = 0  # up to here the disk has been told to begin

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append `data`; its length. Raises `StoreError` (disk full, …)."""
        length = memoryview(data).nbytes
        if self._thread is not None and length >= _WORTH_A_THREAD:
            with self._thread.hashing(data):
                self._temp.write(data)
        else:
            self._temp.write(data)
            self._hasher.update(data)
        reach("blob-partly-written")
        self.size += length
        if self.size - self._begun >= _WRITE_BACK:
            begin_writing_back(self._temp.descriptor, self._begun, self.size - self._begun)
            self._begun = self.size
        return length

    @property
    def digest(self) -> Digest:
        """The digest of what was written so far."""
        return Digest(self._algorithm, self._hasher.hexdigest())

    def commit(self, digest: Digest, size: int) -> None:
        """Give the blob its final name if what was written is `digest` and `size`, and claim it.

        When the blob is there already, the bytes are dropped. One of the wrong size is replaced.
        Raises `CorruptBlobError`, `StoreError`.
        """
        if self.size != size or self.digest != digest:
            raise CorruptBlobError(
                f"blob {digest} is not what was expected",
                why=f"{self.size} bytes with digest {self.digest} came, {size} bytes were to come",
                fix="try again; if it happens again, what is sent is damaged",
                digest=str(digest),
            )
        path = self._store.path(digest)
        if self._store.claim(digest, size):
            self._temp.discard()
            return
        directory = os.path.dirname(path)
        with Explaining("write a blob", directory):
            self._name(path, directory)
        self._store.claimed[digest] = size

    def _name(self, path: str, directory: str) -> None:
        descriptor = self._temp.descriptor
        os.fchmod(descriptor, BLOB_MODE)
        reach("blob-before-sync")
        os.fsync(descriptor)
        make_directories(self._store.directory, directory)
        if os.fstat(descriptor).st_nlink != 1:
            raise StoreError(
                f'cannot write a blob in "{directory}"',
                why="its temporary file was removed or linked by another program while it was written",
                fix="do not clean the cache by other means than hostbuild's",
            )
        reach("blob-before-rename")
        claims = self._store.claims
        # Alone: who links a blob while another one is renamed over it gets ENOENT (link(2) of an inode that
        # has just lost its name), and who removes an older file of this name must not hit the new one.
        held = lock_sweep(claims.sweep_lock, shared=False)
        try:
            if not _is_here(path, self.size):  # another process may have been faster
                if os.path.isdir(path) and not os.path.islink(path):
                    os.rmdir(path)  # rename(2) puts no file over a directory; a full one is an error
                self._temp.rename(path)
            claims.touch(path)  # the last write may have been long ago
        finally:
            os.close(held)
        reach("blob-after-rename")
        sync_directory(directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._thread.end()
        self._temp.discard()


def _is_here(path: str, size: int) -> bool:
    try:
        found = os.lstat(path)
    except OSError:  # absent, or not to be reached: the write that follows tells why
        return False
    return _fits(found, size)


def _fits(found: os.stat_result, size: int) -> bool:
    return stat.S_ISREG(found.st_mode) and found.st_size == size


def is_whole(path: str, digest: Digest) -> bool:
    """Whether the bytes of the file are what `digest` says, in constant memory. Raises `OSError`."""
    with open(path, "rb", buffering=0) as stream:
        return _is_whole(stream.fileno(), digest)


def _is_whole(descriptor: int, digest: Digest) -> bool:
    hasher = hashlib.new(digest.algorithm)
    while piece := os.read(descriptor, _PIECE):
        hasher.update(piece)
    return hasher.hexdigest() == digest.hex


def make_directories(top: str, directory: str) -> None:
    """Create `directory` and what misses between it and `top`, mode 0700, synced. Raises `OSError`."""
    missing = []
    while directory != top and not os.path.isdir(directory):
        missing.append(directory)
        directory = os.path.dirname(directory)
    for each in reversed(missing):
        try:
            os.mkdir(each, 0o700)
        except FileExistsError:
            continue
        sync_directory(os.path.dirname(each))


def _corrupt(digest: Digest, path: str) -> CorruptBlobError:
    return CorruptBlobError(
        f"blob {digest} in the cache is damaged",
        why=f'the bytes of "{path}" are not what its name says',
        fix="build again: it is made anew",
        digest=str(digest),
        path=path,
    )
