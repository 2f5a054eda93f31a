"""The report of what has no wheel: every package at once, what there is, and what can be done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hostbuild.errors import MissingWheelsError
from hostbuild.languages.python.tagnames import UNLISTED, availability, describe
from hostbuild.languages.python.values import Gap, Missing

if TYPE_CHECKING:
    from hostbuild.wheels.target import Target


#: Variables that make a package's build leave its machine code out, each tried.
PURE_BUILDS: dict[str, dict[str, str]] = {
    "msgpack": {"MSGPACK_PUREPYTHON": "1"},
    "multidict": {"MULTIDICT_NO_EXTENSIONS": "1"},
    "pyyaml": {"PYYAML_FORCE_LIBYAML": "0"},
    "websockets": {"BUILD_EXTENSION": "no"},
}

_EACH = "do what is said of each package"


def missing_error(missing: Sequence[Missing], targets: Sequence[Target]) -> MissingWheelsError:
    """The one error for all packages that have no wheel for one of the targets."""
    flag = platform_flag(missing, targets)
    lacking = {each.platform for one in missing for each in one.gaps}
    places = list(dict.fromkeys(str(each.platform) for each in targets if str(each.platform) in lacking))
    names = [f"{each.name} {each.version}".strip() for each in missing]
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    have = "has" if len(names) == 1 else "have"
    leave_out = f"leave out what cannot be served: {flag} (platform in hostbuild.toml), or " if flag else ""
    return MissingWheelsError(
        f"{shown} {have} no wheel for {', '.join(places)}",
        why="an image is put together of wheels: nothing is compiled for another platform",
        fix=leave_out + _EACH,
        detail="\n".join(line for each in missing for line in _lines(each)),
        missing=[to_json(each) for each in missing],
        command=flag,
    )


def platform_flag(missing: Iterable[Missing], targets: Iterable[Target]) -> str:
    """The flag that names only the platforms that nothing is missing for, or "" where there is none."""
    without = {each.platform for one in missing for each in one.gaps}
    served = dict.fromkeys(str(target.platform) for target in targets if str(target.platform) not in without)
    return f"--platform {','.join(served)}" if served else ""


def to_json(missing: Missing) -> dict[str, Any]:
    """One package as `hostbuild check --json` shows it."""
    return {
        "name": missing.name,
        "version": missing.version,
        "missing_for": [
            {"platform": each.platform, "python": each.python, "libc": each.libc, "reason": each.reason}
            for each in missing.gaps
        ],
        "wheels_for": availability(missing.wheels),
        "sdist": missing.sdist.filename if missing.sdist else "",
        "pin": missing.pin,
        "advice": advice(missing),
    }


def advice(missing: Missing) -> list[str]:
    """What can be done about one package, the best first; never empty."""
    found = []
    if any(each.reason == UNLISTED for each in missing.gaps):
        found.append(
            "lock anew for all platforms: uv lock, or uv pip compile --universal --format pylock.toml"
        )
    if missing.pin:
        found.append(f"pin {missing.pin}: it has wheels, and nothing else changes")
    pure = PURE_BUILDS.get(missing.name)
    if missing.sdist is not None and (pure or not (missing.wheels or missing.note)):
        word = "make it pure" if pure else "build it to a wheel, if it has no machine code"
        found.append(f"{word}: {_wheel_command(missing, pure or {})}; and name wheels/ with --find-links")
    apt = [each for each in missing.gaps if each.another_base]
    found += [f"use another base image for {places}: {reason}" for reason, places in _reasons(apt)]
    if missing.note:
        found.append(f"a build of it here did not help: {_last_line(missing.note)}")
    return found or ["leave the platform out, or depend on something else"]


def _wheel_command(missing: Missing, pure: Mapping[str, str]) -> str:
    variables = "".join(f"{name}={value} " for name, value in pure.items())
    name, version = missing.name, missing.version
    # pip would give the wheel that it made earlier, machine code and all.
    options = f"--no-cache-dir --no-deps --no-binary {name}"
    return f"{variables}pip wheel {options} -w wheels {name}=={version}"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("hint:")]
    return lines[-1] if lines else ""


def _lines(missing: Missing) -> list[str]:
    lines = [f"{missing.name} {missing.version}".strip()]
    lines += [f"  {places}: {reason}" for reason, places in _reasons(missing.gaps)]
    there = describe(missing.wheels)
    lines += [f"  has wheels for {line}" for line in there]
    lines += [f"  do: {line}" for line in advice(missing)]
    return lines


def _reasons(gaps: Iterable[Gap]) -> list[tuple[str, str]]:
    together: dict[str, list[str]] = {}
    for gap in gaps:
        together.setdefault(gap.reason, []).append(gap.platform)
    return [(reason, ", ".join(places)) for reason, places in together.items()]
