"""The files of packages as entries of layers, and the little that their maintainer scripts would have done.

`/bin`, `/lib` and `/sbin` are links into `/usr`, as on every Debian from bookworm on. Documentation, manuals,
translations and bytecode are left out.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from hostbuild.errors import InvalidDocumentError
from hostbuild.model import Entry
from hostbuild.records import replace

_MERGED = re.compile(r"(?:bin|sbin|lib|lib32|lib64|libx32|libo32)(?=/|$)")
_DROPPED = re.compile(
    r"usr/share/(?:applications|bug|debianutils|doc|doc-base|info|lintian|locale|man|menu|pixmaps)(?:/|$)"
    r"|usr/sbin/update-passwd$"
    r"|(?:.*/)?__pycache__(?:/|$)"
    r"|.*\.py[co]$"
)
_PYTHON = re.compile(r"(?:lib)?python3(?:\.\d+)?(?:-|$)")

_HOSTS = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
_COPIES = {
    "etc/passwd": "usr/share/base-passwd/passwd.master",
    "etc/group": "usr/share/base-passwd/group.master",
    "etc/nsswitch.conf": "usr/share/libc-bin/nsswitch.conf",
}
_DIRECTORIES = {
    **dict.fromkeys(
        ("media", "mnt", "opt", "srv", "usr/local/bin", "usr/local/lib", "usr/local/sbin"), 0o755
    ),
    "run/lock": 0o1777,
}
_CERTIFICATES = "usr/share/ca-certificates/"
_BUNDLE = "etc/ssl/certs/ca-certificates.crt"

Files = dict[str, Entry]


def is_python(package: str) -> bool:
    """Whether a package's files belong into the layer of Python, above that of the system."""
    return _PYTHON.match(package) is not None


def merged(path: str) -> str:
    """A package's path (`./lib/x`) as it is on a system with a merged /usr: `usr/lib/x`; "" is the root."""
    plain = path.removeprefix("./").strip("/")
    if plain in {"", "."}:
        return ""
    return f"usr/{plain}" if _MERGED.match(plain) else plain


def _is_top(path: str) -> bool:
    """Whether it is one of the links at the top of a merged system: later releases have them in packages."""
    return _MERGED.fullmatch(path.removeprefix("./").strip("/")) is not None


def entries_of(name: str, archive: bytes) -> Iterator[Entry]:
    """The entries of one package's tar archive, in its order, without what is left out.

    Hard links become files of their own. Raises InvalidDocumentError for what no Debian package holds:
    devices, paths that lead out.
    """
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            path = merged(member.name)
            if not path or _DROPPED.match(path) or (member.issym() and _is_top(member.name)):
                continue
            origin = f"{name}: {member.name}"
            if ".." in path.split("/"):
                raise InvalidDocumentError(f"the package {name} is refused", why=f"{path!r} leads out of it")
            entry = Entry(path, "dir", member.mode & 0o7777, member.uid, member.gid, origin=origin)
            if member.isdir():
                yield entry
            elif member.issym():
                yield replace(entry, kind="link", mode=0o777, target=member.linkname)
            elif (stream := tar.extractfile(member)) is not None:
                with stream:
                    yield _file(entry, stream.read())
            else:
                raise InvalidDocumentError(
                    f"the package {name} is refused", why=f"{path!r} is neither file, directory nor link"
                )


def system(packages: Mapping[str, bytes]) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
    """The entries of the system's layer and of Python's, sorted; `packages` has each one's tar archive.

    Each layer brings the directories above its files. A directory that several packages have is as
    base-files has it, else as the first has it. Raises InvalidDocumentError where two packages bring
    one file.
    """
    below: Files = {}
    above: Files = {}
    directories: Files = {}
    order = sorted(packages, key=lambda name: (name != "base-files", name))
    for name in order:
        layer = above if is_python(name) else below
        for entry in entries_of(name, packages[name]):
            if entry.kind == "dir":
                directories.setdefault(entry.path, entry)
                layer[entry.path] = directories[entry.path]
            elif known := below.get(entry.path) or above.get(entry.path):
                raise InvalidDocumentError(
                    f"two packages bring {entry.path!r}", why=f"{known.origin}, and {entry.origin}"
                )
            else:
                layer[entry.path] = entry
    _configure(below)
    return _sorted(below, directories), _sorted(above, directories)


def _configure(files: Files) -> None:
    """What maintainer scripts and a container's start would do, as far as programs rely on it."""
    below_usr = {path.split("/")[1] for path in files if path.startswith("usr/")}
    for top in {"bin", "lib", "sbin"} | {name for name in below_usr if _MERGED.fullmatch(name)}:
        files[top] = _link(top, f"usr/{top}")
    if "usr/bin/dash" in files:
        files["usr/bin/sh"] = _link("usr/bin/sh", "dash")
    for target, source in _COPIES.items():
        if source in files:
            files[target] = replace(files[source], path=target)
    certificates = [path for path in sorted(files) if path.startswith(_CERTIFICATES)]
    pems = [_read(files[path]) for path in certificates if path.endswith(".crt")]
    if pems:
        data = b"".join(pem if pem.endswith(b"\n") else pem + b"\n" for pem in pems)
        files[_BUNDLE] = _file(Entry(_BUNDLE, "file", 0o644), data)
    files["etc/hosts"] = _file(Entry("etc/hosts", "file", 0o644), _HOSTS)
    files["var/run"] = _link("var/run", "/run")
    files["var/lock"] = _link("var/lock", "/run/lock")
    for path, mode in _DIRECTORIES.items():
        files.setdefault(path, Entry(path, "dir", mode))


def _sorted(files: Files, directories: Files) -> tuple[Entry, ...]:
    complete = dict(files)
    for path in files:
        while path := path.rpartition("/")[0]:
            complete.setdefault(path, directories.get(path) or Entry(path, "dir", 0o755))
    return tuple(complete[path] for path in sorted(complete, key=lambda text: text.encode()))


def _file(entry: Entry, data: bytes) -> Entry:
    return replace(entry, kind="file", size=len(data), open=partial(io.BytesIO, data))


def _link(path: str, target: str) -> Entry:
    return Entry(path, "link", 0o777, target=target)


def _read(entry: Entry) -> bytes:
    assert entry.open is not None, f"{entry.path} is a file"
    with entry.open() as stream:
        return stream.read()


def uncompressed(entries: Iterable[Entry]) -> int:
    """The bytes of all files."""
    return sum(entry.size for entry in entries)
