"""What single files of an image say: programs and libraries of themselves, and a few short texts.

While the layers go by, a file is judged by its name: what may be an interpreter, a shared library, or a
setting of the dynamic loader is looked at. Whatever else turns out to be wanted is searched for afterwards.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

from hostbuild.errors import ElfError
from hostbuild.wheels.elf import MAGIC, Elf, read_elf
from hostbuild.wheels.image_tree import File, Node, Opener, Place, Tree, read_file, read_tree

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from hostbuild.layer import Member

#: Files up to here are read in one piece; of larger ones only a window is held.
_WHOLE = 32 << 20
_PIECE = 1 << 20
#: What a text may have; more is cut off.
_TEXT = 256 << 10
#: Longer than what is searched for.
_OVERLAP = 512
#: Different strings of one kind that one file may hold.
_MAX_FOUND = 64

_PROGRAM = re.compile(r"(?:python|pypy)[\w.-]*")
_LIBRARY = re.compile(r".+\.so(?:\..+)?")
_NAMES_WITH_VERSIONS = ("libpython", "libc.", "libc-", "ld-")
_TEXTS = re.compile(
    r"(?:.*/)?(?:pyvenv\.cfg|ld\.so\.conf|ld\.so\.conf\.d/[^/]+|ld-musl-[^/]+\.path|python3\.\d+t?/site\.py)"
)

#: PY_VERSION of CPython's Include/patchlevel.h as a C string.
_PYTHON = re.compile(rb"3\.\d{1,2}\.\d{1,3}(?:(?:a|b|rc)\d{1,2})?\+?\0")
#: The banner of glibc's csu/version.c; VERSION as a C string, and the greeting of musl's ldso/dynlink.c.
_GLIBC = re.compile(rb"GNU C Library [^\n\0]{0,200}? release version (\d{1,4}\.\d{1,4})")
_MUSL = re.compile(rb"1\.\d{1,3}\.\d{1,3}(?:[-_.][\w.-]{1,60})?\0")
_MUSL_GREETING = b"musl libc ("


class Facts(NamedTuple):
    """What a file says.

    `elf` is there for ELF files that are in order, `fault` says what is wrong with one that is not. `text` is
    the beginning of any other file. `python` are the strings in it that may be the version of CPython, each
    with whether it stands alone (the linker also lets one be the end of another); `glibc` and `musl` those
    that may be its libc's.
    """

    elf: Elf | None = None
    fault: str = ""
    text: bytes = b""
    python: tuple[tuple[str, bool], ...] = ()
    glibc: tuple[str, ...] = ()
    musl: tuple[str, ...] = ()


class Image:
    """The files of an image: its tree, and what each file says."""

    def __init__(self, layers: Sequence[Opener]) -> None:
        """Reads each layer once. Raises InvalidDocumentError, and what the openers raise."""
        self._layers = layers
        self._later: dict[Place, Facts] = {}
        self.tree: Tree[Facts] = read_tree(layers, _look)

    def facts(self, file: File[Facts]) -> Facts:
        """What the file says; one that was passed by is searched for. Raises as the constructor does."""
        if file.seen is not None:
            return file.seen
        if file.place not in self._later:
            self._later[file.place] = read_file(self._layers, file.place, _look_closely) or Facts()
        return self._later[file.place]

    def library(self, node: Node[Facts] | None) -> Elf | None:
        """The shared library that the file was seen to be; None for anything else."""
        elf = node.seen.elf if isinstance(node, File) and node.seen is not None else None
        return elf if elf is not None and elf.kind == "shared" else None

    def text(self, path: str) -> str:
        """The text of the file that `path` leads to, or "" where there is none."""
        found = self.tree.file(path)
        return "" if found is None else self.facts(found[1]).text.decode("utf-8", "replace")


def _look(member: Member, content: BinaryIO, again: Opener) -> Facts | None:
    """What the file says, if its name asks for it."""
    name = member.path.rpartition("/")[2]
    if _LIBRARY.fullmatch(name):
        return _read(member, content, again, has_versions=name.startswith(_NAMES_WITH_VERSIONS))
    if member.mode & 0o111 and _PROGRAM.fullmatch(name):
        return _read(member, content, again, has_versions=True)
    return Facts(text=content.read(_TEXT)) if _TEXTS.fullmatch(member.path) else None


def _look_closely(member: Member, content: BinaryIO, again: Opener) -> Facts:
    return _read(member, content, again, has_versions=True)


def _read(member: Member, content: BinaryIO, again: Opener, *, has_versions: bool) -> Facts:
    start = content.read(len(MAGIC))
    if start != MAGIC:
        return Facts(text=start + content.read(_TEXT - len(start)))
    strings = _Strings() if has_versions else None
    try:
        if member.size <= _WHOLE:
            data = start + content.read()
            if strings is not None:
                strings.take(data)
            elf = read_elf(data, member.path)
        else:
            passing = _Passing(start, content, strings)
            streams = iter([cast("BinaryIO", passing)])
            # The bytes go by once; what is wanted of them later is opened anew.
            elf = read_elf(lambda: next(streams, None) or again(), member.path)
            if strings is not None:
                passing.drain()
    except ElfError as error:
        return Facts(fault=error.why)
    if elf is not None and strings is None:
        elf = elf._replace(versions=())  # they are many, and only an interpreter is asked for them
    return Facts(elf=elf) if strings is None else strings.facts()._replace(elf=elf)


class _Strings:
    """Searches the bytes that it takes, piece by piece, for versions."""

    def __init__(self) -> None:
        self._tail = b""
        self._python: dict[str, bool] = {}
        self._glibc: dict[str, None] = {}
        self._musl: dict[str, None] = {}
        self._is_musl = False

    def take(self, data: bytes) -> None:
        """The file's next bytes."""
        window = self._tail + data if self._tail else data
        for text, before in self._texts(_PYTHON, window):
            version = text.rstrip("+")
            self._python[version] = self._python.get(version, False) or before == b"\0"
        for found in _GLIBC.finditer(window):
            self._glibc[found[1].decode()] = None
        self._musl.update((text, None) for text, _ in self._texts(_MUSL, window))
        self._is_musl = self._is_musl or _MUSL_GREETING in window
        self._tail = window[-_OVERLAP:]

    def _texts(self, form: re.Pattern[bytes], window: bytes) -> Iterator[tuple[str, bytes]]:
        """Strings that are no end of a longer number, each with the byte before it."""
        for found in form.finditer(window):
            start = found.start()
            before = window[start - 1 : start] if start else b"\0"
            # What begins where the window was cut was found before, whole.
            if not before.isdigit() and before != b"." and (start or not self._tail):
                yield found[0].rstrip(b"\0").decode(), before

    def facts(self) -> Facts:
        """What was found."""
        return Facts(
            python=tuple(self._python.items())[:_MAX_FOUND],
            glibc=tuple(self._glibc)[:_MAX_FOUND],
            musl=tuple(self._musl)[:_MAX_FOUND] if self._is_musl else (),
        )


class _Passing(io.RawIOBase):
    """A file's bytes while the layer goes by; who searches for strings sees each of them."""

    def __init__(self, start: bytes, content: BinaryIO, strings: _Strings | None) -> None:
        self._start = start
        self._content = content
        self._take: Callable[[bytes], object] = strings.take if strings is not None else len

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self._next(len(view))
        view[: len(data)] = data
        return len(data)

    def drain(self) -> None:
        """Let the rest go by."""
        while self._next(_PIECE):
            pass

    def _next(self, size: int) -> bytes:
        data, self._start = self._start[:size], self._start[size:]
        data = data or self._content.read(size)
        self._take(data)
        return data
