"""go.work: how the go command is kept from writing into the workspace.

In workspace mode the go command adds checksums to go.work.sum, beside the user's go.work, whatever -mod
says. An overlay for go.work.sum keeps it from that: it then fails where checksums are missing. They are
collected with a copy of the workspace in the stage, whose paths are absolute. That copy is no good for
building: the paths of its `replace` lines would stand in the binary.
"""

from __future__ import annotations

import os

from hostbuild.languages.go.modedit import Line, rewrite


def sum_path(go_work: str) -> str:
    """Where the go command keeps a workspace's checksums."""
    return go_work + ".sum"


def absolute(text: str, folder: str) -> str:
    """A go.work's text with its relative directories made absolute; it stood in `folder`."""

    def place(word: str) -> str:
        return os.path.normpath(os.path.join(folder, word))

    def change(line: Line) -> tuple[str, ...]:
        if line.verb == "use" and line.words:
            return (place(line.words[0]), *line.words[1:])
        if line.verb == "replace" and "=>" in line.words:
            cut = line.words.index("=>") + 1
            target = line.words[cut : cut + 1]
            if target and target[0].startswith((".", "/")):
                return (*line.words[:cut], place(target[0]), *line.words[cut + 1 :])
        return line.words

    return rewrite(text, change)


def with_go(text: str, version: str) -> str:
    """A go.work's text with this `go` line."""
    seen = False

    def change(line: Line) -> tuple[str, ...]:
        nonlocal seen
        if line.verb == "go":
            seen = True
            return (version,)
        return line.words

    changed = rewrite(text, change)
    return changed if seen else f"go {version}\n\n{changed}"
