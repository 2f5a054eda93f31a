"""Each cell of the fault matrix ends in the right bytes or in one clear error, in bounded time.

And in every cell: nothing lies in the cache under a wrong name, no reader can see half an image, no
credential reaches another host, no secret stands in a message or an event, and the fault did happen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hostbuild import errors
from hostbuild.http import retries
from hostbuild.registry import Registries, patience
from tests.registry_matrix.actions import ACTIONS, Scene
from tests.registry_matrix.house import SHORT, House, Stage, open_house, open_stage
from tests.registry_matrix.operations import (
    RUNS,
    Prepared,
    check_cache,
    check_nothing_half,
    check_right,
    prepare,
)
from tests.registry_matrix.table import CELLS, EXIT_CODES, RIGHT, UNREACHABLE, Cell

#: Seconds after which a cell has hung.
HANG = 30


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house("distribution", tmp_path_factory.mktemp("house")) as house:
        yield house


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses between tries are a twentieth of what they are in life."""
    monkeypatch.setattr(retries, "_FIRST_WAIT", 0.05)
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.05)


def run(cell: Cell, stage: Stage, prepared: Prepared) -> Any:
    """The operation's result or the HostbuildError that it raised; a hang fails."""
    registries = Registries(stage.access, on_event=stage.events.append)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(RUNS[cell.operation], stage, prepared, registries)
        try:
            return future.result(timeout=HANG)
        except errors.HostbuildError as error:
            return error
        except TimeoutError:
            pytest.fail(f"no end after {HANG} s: {stage.said()}", pytrace=False)
        finally:
            registries.close()


def check_error(error: errors.HostbuildError, kind: str) -> None:
    wanted: type[errors.HostbuildError] = getattr(errors, kind)
    # A broken transfer is an unreachable server to a user; other subclasses have meanings of their own.
    subclasses = {errors.TransferBrokenError} if wanted is errors.UnreachableError else set()
    assert type(error) in {wanted, *subclasses}, f"{type(error).__name__}: {error} {error.extra}"
    assert error.exit_code == EXIT_CODES[kind]
    assert error.what
    assert error.why
    assert "\n" not in str(error)
    assert "Traceback" not in error.detail


def texts_of(error: BaseException | None) -> str:
    """All that an error and those behind it may show."""
    texts = []
    while error is not None:
        texts += [str(error), repr(error), repr(getattr(error, "__dict__", ""))]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(texts)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_cell(cell: Cell, house: House, tmp_path: Path) -> None:
    repository = re.sub(r"[^a-z0-9]+", "-", cell.name.lower())
    with open_stage(house, repository, tmp_path) as stage:
        prepared = prepare(cell.operation, stage)
        scene = Scene(stage, prepared, cell.operation, cell.row.times)
        ACTIONS[cell.row.fault](scene)
        if cell.outcome == UNREACHABLE:
            stage.retry_time = SHORT
        result = run(cell, stage, prepared)
        failed = isinstance(result, errors.HostbuildError)
        if cell.outcome == RIGHT:
            assert not failed, f"{type(result).__name__}: {result}\n{stage.said()}"
            check_right(cell.operation, stage, prepared, result, moved=cell.row.fault == "moved")
            for what, condition in scene.checks:
                assert condition(), f"not so: {what}\n{stage.said()}"
        else:
            assert failed, f"it succeeded: {result}\n{stage.said()}"
            check_error(result, cell.outcome)
            check_nothing_half(stage)
        check_cache(stage)
        assert all(condition() for condition in scene.ends)
        for rule in scene.rules:
            assert rule.hits, f"{rule.fault.name} did not happen: {[x.target for x in stage.proxy.seen()]}"
        assert stage.other.secrets() == set()
        shown = stage.said() + (texts_of(result) if failed else "")
        for secret in stage.secrets():
            assert secret not in shown
