"""The files of an image, read out of its layers without unpacking them: one over the other, with whiteouts.

Each layer is read once, from the lowest up, and of each file only what the caller looks at. Memory is some
hundred bytes an entry, and what the caller keeps. Sources: image specification, layer.md ("Applying
Changesets", "Whiteouts"); path_resolution(7).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO, Generic, NamedTuple, TypeAlias, TypeVar, cast

from hostbuild.errors import InvalidDocumentError
from hostbuild.layer import read_layer
from hostbuild.oci.quoting import quote

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from hostbuild.layer import Member

#: As many links as Linux follows in one path, and as many bytes as a path may have.
_MAX_LINKS = 40
_MAX_PATH = 4096

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
#: Left behind by AUFS; they hide nothing.
_LEFTOVER = ".wh..wh."

Seen = TypeVar("Seen")
Opener: TypeAlias = Callable[[], BinaryIO]


class Place(NamedTuple):
    """Where a file's bytes lie: the number of the layer, the lowest is 0, and of the entry in it."""

    layer: int
    entry: int


class File(Generic[Seen]):
    """What is neither directory nor link. `seen` is what the caller made of its bytes, None for nothing."""

    __slots__ = ("executable", "place", "seen")

    def __init__(self, executable: bool, place: Place, seen: Seen | None) -> None:
        self.executable = executable
        self.place = place
        self.seen = seen


class Link:
    """A symbolic link, with its target as it stands."""

    __slots__ = ("target",)

    def __init__(self, target: str) -> None:
        self.target = target


class Directory(Generic[Seen]):
    """A directory."""

    __slots__ = ("children",)

    def __init__(self) -> None:
        self.children: dict[str, Node[Seen]] = {}


Node: TypeAlias = File[Seen] | Link | Directory[Seen]

#: What is made of a file: (entry, its bytes, what opens them anew) to anything, or None to look no further.
Look: TypeAlias = Callable[["Member", BinaryIO, Opener], Seen | None]


class Tree(Generic[Seen]):
    """All entries of an image as a container sees them."""

    def __init__(self) -> None:
        self._root: Directory[Seen] = Directory()

    def find(self, path: str) -> tuple[str, File[Seen] | Directory[Seen]] | None:
        """The real path and the entry that `path` leads to, all links followed inside the image; None where
        it leads to nothing, or in circles.
        """
        names: list[str] = []
        nodes: list[File[Seen] | Directory[Seen]] = [self._root]
        todo = path.split("/")[::-1]
        links = 0
        while todo:
            name = todo.pop()
            here = nodes[-1]
            if name in {"", "."}:
                continue
            if not isinstance(here, Directory):
                return None
            if name == "..":
                del names[-1:], nodes[len(names) + 1 :]
                continue
            node = here.children.get(name)
            if node is None:
                return None
            if not isinstance(node, Link):
                names.append(name)
                nodes.append(node)
                continue
            links += 1
            if links > _MAX_LINKS or len(node.target) > _MAX_PATH:
                return None
            if node.target.startswith("/"):
                names, nodes = [], [self._root]
            todo += node.target.split("/")[::-1]
        return "/" + "/".join(names), nodes[-1]

    def file(self, path: str) -> tuple[str, File[Seen]] | None:
        """As `find`, for a file."""
        found = self.find(path)
        return (found[0], found[1]) if found is not None and isinstance(found[1], File) else None

    def directory(self, path: str) -> tuple[str, Mapping[str, Node[Seen]]] | None:
        """The real path and the entries of the directory that `path` leads to, by their names."""
        found = self.find(path)
        return (
            (found[0], found[1].children) if found is not None and isinstance(found[1], Directory) else None
        )

    def real(self, path: str) -> str:
        """The path without links, as far as it is there; what is not, stays as it stands."""
        head, rest = path.rstrip("/"), ""
        while head:
            found = self.find(head)
            if found is not None:
                return found[0].rstrip("/") + rest
            head, _, name = head.rpartition("/")
            rest = f"/{name}{rest}"
        return rest or "/"

    def hide(self, path: str) -> None:
        """Do what a whiteout of this path asks for; one that hides nothing is no fault."""
        above, _, name = path.rpartition("/")
        found = self.find(above)
        if found is None or not isinstance(found[1], Directory):
            return
        if name == _OPAQUE:
            found[1].children.clear()
        elif not name.startswith(_LEFTOVER):
            found[1].children.pop(name.removeprefix(_WHITEOUT), None)

    def add(self, place: Place, member: Member, seen: Seen | None) -> None:
        """Lay one entry over what is there. Raises InvalidDocumentError for one that cannot be laid."""
        if len(member.path) > _MAX_PATH:
            raise _bad(member, "its name is too long")
        above, _, name = member.path.rpartition("/")
        if name in {"", ".", ".."}:
            return  # the root itself, or as good as that
        children = self._enter(above, member).children
        if member.kind == "dir":
            if not isinstance(children.get(name), Directory):
                children[name] = Directory()
        elif member.kind == "link":
            children[name] = Link(member.target)
        elif member.kind == "hardlink":
            children[name] = self._same(member)
        else:
            children[name] = File(member.kind == "file" and bool(member.mode & 0o111), place, seen)

    def _enter(self, path: str, member: Member) -> Directory[Seen]:
        """The directory of that path, made where it is not there, as runtimes do."""
        here: list[Directory[Seen]] = [self._root]
        todo = path.split("/")[::-1]
        links = 0
        while todo:
            name = todo.pop()
            if name in {"", "."}:
                continue
            if name == "..":
                del here[max(len(here) - 1, 1) :]
                continue
            node = here[-1].children.get(name)
            if isinstance(node, Link):
                links += 1
                if links > _MAX_LINKS or len(node.target) > _MAX_PATH:
                    raise _bad(member, "the links before it lead nowhere")
                if node.target.startswith("/"):
                    del here[1:]
                todo += node.target.split("/")[::-1]
                continue
            if not isinstance(node, Directory):
                node = Directory()
                here[-1].children[name] = node
            here.append(node)
        return here[-1]

    def _same(self, member: Member) -> File[Seen] | Link:
        """What a hard link names, under a further name."""
        above, _, name = member.target.strip("/").rpartition("/")
        parent = self.directory(above)
        there = parent[1].get(name) if parent is not None else None
        if there is None or isinstance(there, Directory):
            raise _bad(member, f"it is a hard link to {quote(member.target)}, which is not there")
        return there


def read_tree(layers: Sequence[Opener], look: Look[Seen]) -> Tree[Seen]:
    """The files of the layers that `layers` open, the lowest first; `look` is asked for each plain file.

    Raises InvalidDocumentError for a layer that cannot be read or laid over the others, and what the
    openers, their streams and `look` raise.
    """
    tree: Tree[Seen] = Tree()
    for number, opener in enumerate(layers):
        with opener() as stream:
            # A whiteout hides what lower layers have and nothing of its own, wherever it stands in it: so a
            # layer is laid when all of it has been seen.
            entries: list[tuple[Place, Member, Seen | None]] = []
            for entry, (member, content) in enumerate(read_layer(stream)):
                if member.path.rpartition("/")[2].startswith(_WHITEOUT):
                    tree.hide(member.path)
                else:
                    seen = None if content is None else look(member, content, _Reopener(opener, entry))
                    entries.append((Place(number, entry), member, seen))
        for each in entries:
            tree.add(*each)
    return tree


def read_file(layers: Sequence[Opener], place: Place, look: Look[Seen]) -> Seen | None:
    """What `look` makes of one file, which is searched for again. Raises as `read_tree` does."""
    opener = layers[place.layer]
    with opener() as stream:
        for entry, (member, content) in enumerate(read_layer(stream)):
            if entry == place.entry:
                return None if content is None else look(member, content, _Reopener(opener, entry))
    return None


class _Reopener:
    """Opens the bytes of one entry of a layer from their beginning."""

    __slots__ = ("_entry", "_opener")

    def __init__(self, opener: Opener, entry: int) -> None:
        self._opener = opener
        self._entry = entry

    def __call__(self) -> BinaryIO:
        return cast("BinaryIO", io.BufferedReader(_EntryStream(self._opener, self._entry)))


class _EntryStream(io.RawIOBase):
    """The bytes of one entry; closing it closes the layer."""

    def __init__(self, opener: Opener, entry: int) -> None:
        self._layer = opener()
        self._members: Iterator[tuple[Member, BinaryIO | None]] = read_layer(self._layer)
        self._content: BinaryIO = io.BytesIO()
        for number, (_, content) in enumerate(self._members):
            if number == entry:
                self._content = content or self._content
                break

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self._content.read(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._layer.close()
        super().close()


def _bad(member: Member, why: str) -> InvalidDocumentError:
    return InvalidDocumentError(f"a layer's entry {quote(member.path)} cannot be unpacked", why=why)
