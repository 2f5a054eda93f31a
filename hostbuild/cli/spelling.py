"""Spellings of flags that argparse does not know: `--push=false`, a bare `--pull`, `--registry-insecure`.

A value that may be left out is taken after "=" only; otherwise it would eat the directory that follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hostbuild.errors import UsageError
from hostbuild.settings.table import Setting, parse_switch


def spell_out(argv: Sequence[str], settings: Iterable[Setting]) -> list[str]:
    """The same command line in words that the parser knows. Raises UsageError for a value that is none."""
    switches, bare = {}, {}
    for setting in settings:
        if setting.kind == "switch":
            switches.update(dict.fromkeys(setting.names, (setting.name, True)))
            if setting.opposite:
                switches[setting.opposite] = (setting.name, False)
        elif setting.bare:
            bare.update(dict.fromkeys(setting.names, setting))
    words: list[str] = []
    for number, word in enumerate(argv):
        if word == "--":
            return words + list(argv[number:])
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            words.append(word)
        elif name in switches and (equals or switches[name][0] != name):
            own, meaning = switches[name]
            on = parse_switch(value, f"--{name}") if equals else True
            words.append(f"--{own}" if on is meaning else f"--no-{own}")
        elif name in bare and not equals:
            _refuse_value_beside(bare[name], name, argv[number + 1 : number + 2])
            words.append(f"--{name}={bare[name].bare}")
        else:
            words.append(word)
    return words


def _refuse_value_beside(setting: Setting, name: str, following: Sequence[str]) -> None:
    for word in following:
        if word in setting.choices:
            raise UsageError(
                f"--{name} {word}: is {word!r} its value, or a directory?",
                fix=f"write --{name}={word}, or ./{word} for the directory",
            )
