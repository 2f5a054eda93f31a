"""The languages that hostbuild builds, found by func.yaml's word or by what lies in the directory.

Go and Python are built in. Others come in by the entry point group `hostbuild.languages`, which is read only
when no built-in language fits: reading it takes longer than all else in a build with nothing to do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hostbuild.errors import DetectionError, RuntimeNotImplementedError, RuntimeNotRecognisedError

if TYPE_CHECKING:
    from hostbuild.languages.base import Language

GROUP = "hostbuild.languages"

#: The runtimes of knative func that have no language here.
NOT_IMPLEMENTED = ("node", "quarkus", "rust", "springboot", "typescript")

#: What tells those of them that people have, for the message only.
_SIGNS = {
    "package.json": "node",
    "Cargo.toml": "rust",
    "pom.xml": "quarkus or springboot",
}


def get(runtime: str) -> Language:
    """The language for func.yaml's `runtime`.

    Raises RuntimeNotImplementedError for those that knative func knows and hostbuild does not build,
    RuntimeNotRecognisedError for any other word.
    """
    for language in _all():
        if runtime in language.runtimes:
            return language
    if runtime in NOT_IMPLEMENTED:
        raise RuntimeNotImplementedError(
            f"the runtime {runtime!r} is not implemented",
            why=f"hostbuild builds {_words(supported())}",
            fix="set another runtime in func.yaml, or install a package that brings this language",
        )
    raise RuntimeNotRecognisedError(
        f"the runtime {runtime!r} is not recognised",
        why=f"hostbuild builds {_words(supported())}",
        fix=_meant(runtime),
    )


def pick(root: str, runtime: str = "") -> Language:
    """The language of the directory `root`: the one that `runtime` names, else the first that claims it.

    Raises DetectionError where none does, and what `get` raises.
    """
    if runtime:
        return get(runtime)
    for language in _all():
        if language.claims(root):
            return language
    for language in _all():
        if language.claims_from_above(root):
            return language
    names = sorted(os.listdir(root))
    visible = [name for name in names if name not in {".func", ".git"}]
    if not visible:
        raise DetectionError(
            f"the directory {root!r} is empty",
            why="there is no source to build",
            fix="name a directory that holds a go.mod, a pyproject.toml or another project's files",
        )
    why = (
        "looked for *.go files, a go.mod here and in the directories above, *.py files, pyproject.toml, "
        "requirements.txt and the locks of Python projects"
    )
    for sign, name in _SIGNS.items():
        if sign in visible:
            raise RuntimeNotImplementedError(
                f"{sign} in {root!r} looks like {name}, which is not implemented", why=why
            )
    raise DetectionError(
        f"no language was recognised in {root!r}",
        why=why,
        fix="name the directory of the program, or set `runtime:` in func.yaml",
    )


def is_supported(runtime: str) -> bool:
    """Whether a build of this runtime can be asked for."""
    return any(runtime in language.runtimes for language in _all())


def supported() -> tuple[str, ...]:
    """The runtimes that can be built, sorted."""
    return tuple(sorted({runtime for language in _all() for runtime in language.runtimes}))


def _builtin() -> tuple[Language, ...]:
    from hostbuild.languages import go, python

    return (go.LANGUAGE, python.LANGUAGE)


def _all() -> Iterator[Language]:
    """Built-in languages first; those of other packages are looked up only by who asks on."""
    known = _builtin()
    yield from known
    from importlib.metadata import entry_points

    names = {language.name for language in known}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        if point.name not in names:
            yield point.load()


def _words(names: tuple[str, ...]) -> str:
    return ", ".join(names)


def _meant(runtime: str) -> str:
    from difflib import get_close_matches

    aliases = {"golang": "go", "py": "python", "nodejs": "node", "ts": "typescript"}
    word = runtime.strip().lower()
    known = (*supported(), *NOT_IMPLEMENTED)
    near = [aliases[word]] if word in aliases else get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else "set `runtime: go` or `runtime: python` in func.yaml"
