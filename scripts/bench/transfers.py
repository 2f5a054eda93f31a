"""Push and pull against crane, with one docker-registry, and requests where there is nothing to push."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bed import US, Results, Run, in_turns, measured
from builds import Size
from projects import Tools
from registry import PULL, free_port, registry, write_image


def transfers(results: Results, tools: Tools, size: Size) -> None:
    """Twice the data's megabytes; each push has an empty registry of its own."""
    turns, megabytes = max(size.turns // 2, 1), max(int(2 * size.megabytes), 1)
    if tools.crane is None or shutil.which("docker-registry") is None:
        results.notes.append("push and pull are left out: crane or docker-registry is not here")
        return
    crane = str(tools.crane)
    layout = str(write_image(tools.home / "image", megabytes))
    what = f"{megabytes} MB in mixed layers"
    push: dict[str, Callable[[str], list[str]]] = {
        "crane": lambda ref: [crane, "push", layout, ref],
        US: lambda ref: [sys.executable, "-m", "hostbuild", "push", "-q", layout, ref],
    }
    pull: dict[str, Callable[[str], list[str]]] = {
        "crane": lambda ref: [crane, "pull", "--format=oci", ref, str(tools.home / "pulled")],
        US: lambda ref: [sys.executable, "-c", PULL, ref, str(tools.home / "pulled")],
    }

    def pushed(who: str) -> Run:
        with registry(tools.home / "registry-push", free_port()) as address:
            return measured(push[who](f"{address}/bench:1"), env=tools.env)

    def pulled(who: str, ref: str) -> Run:
        run = measured(pull[who](ref), env=tools.env)
        shutil.rmtree(tools.home / "pulled")
        return run

    in_turns(results, f"push of {what}", turns, {who: partial(pushed, who) for who in push})
    place = tools.home / "registry-full"
    with registry(place, free_port(), log_accesses=True) as address:
        ref = f"{address}/bench:1"
        measured(push["crane"](ref), env=tools.env)
        for who, command in push.items():
            begun = _requests(place)
            measured(command(ref), env=tools.env)
            results.facts[f"requests of {who} where there is nothing to push"] = _requests(place) - begun

        def pushed_again(who: str) -> Run:
            return measured(push[who](ref), env=tools.env)

        nothing = {who: partial(pushed_again, who) for who in push}
        in_turns(results, f"push of {what}: nothing to do", max(turns, 5), nothing)
        both = {who: partial(pulled, who, ref) for who in pull}
        in_turns(results, f"pull of {what}", turns, both)
    shutil.rmtree(place)
    shutil.rmtree(layout)


def _requests(place: Path) -> int:
    return sum('"' in line and " /v2/" in line for line in (place / "log").read_text().splitlines())
