"""Fixtures that all tests share, and the rule that no test is skipped where it must not be."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.rig.builder import Hostbuild
from tests.rig.go_wrapper import GoWrapper
from tests.rig.schemas import Schemas


@pytest.fixture
def hostbuild(tmp_path: Path) -> Hostbuild:
    """The installed command, with a cache that no other test sees."""
    home = tmp_path / "hostbuild-home"
    home.mkdir()
    return Hostbuild(home)


@pytest.fixture
def go_wrapper(tmp_path: Path) -> GoWrapper:
    """A go command that tells of its calls and can be made to wait, hang or fail."""
    return GoWrapper(tmp_path / "go-wrapper")


@pytest.fixture(scope="session")
def schemas() -> Schemas:
    """The image specification's JSON schemas."""
    return Schemas()


def pytest_configure() -> None:
    """Let SIGINT reach what the tests start, also where this run was started in the background.

    A shell starts a background job with SIGINT ignored; that is inherited, and hostbuild keeps it so. A
    handler of our own is not inherited: the commands that we start then have the default again.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skipped test is a failed run: a green one says that everything ran."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not os.environ.get("CI"):
        return
    skipped = reporter.stats.get("skipped", [])
    if skipped and session.exitstatus == pytest.ExitCode.OK:
        reporter.write_line(f"error: {len(skipped)} tests were skipped; in CI all must run", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
