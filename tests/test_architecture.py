"""The structure that docs and design promise is a failing test; each check is shown to be able to fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rig import architecture
from tests.rig.architecture import Module

ROOT = Path(__file__).parent.parent
PACKAGE = architecture.load(ROOT, "hostbuild")
ALL = [*PACKAGE, *architecture.load(ROOT, "tests"), *architecture.load(ROOT, "scripts")]

Check = Callable[[Module], list[str]]

OF_THE_PACKAGE: list[Check] = [
    architecture.upward_imports,
    architecture.foreign_imports,
    architecture.early_heavy_imports,
    architecture.ambient_reads,
    architecture.missing_docstrings,
]

HEAD = '"""Doc."""\n'


@pytest.mark.parametrize("check", OF_THE_PACKAGE, ids=lambda check: check.__name__)
def test_the_package_is_built_as_designed(check: Check) -> None:
    assert [complaint for module in PACKAGE for complaint in check(module)] == []


def test_no_file_is_too_long() -> None:
    assert [complaint for module in ALL for complaint in architecture.too_long(module)] == []


def test_the_whole_tree_was_read() -> None:
    assert {"hostbuild", "hostbuild.errors", "hostbuild.model"} <= {module.name for module in PACKAGE}
    assert {module.room for module in PACKAGE} <= set(architecture.TIER)
    assert "tests.test_architecture" in {module.name for module in ALL}


def test_every_exception_from_the_rule_is_needed() -> None:
    modules = {module.name: module for module in PACKAGE}
    for name, allowed in architecture.MAY_BE_HEAVY.items():
        early = {item.target for item in architecture.imports(modules[name]) if not item.late}
        for heavy in allowed:
            assert any(target.startswith(heavy) for target in early), f"{name} does not import {heavy}"
    for name in architecture.MAY_READ_ENVIRONMENT:
        assert "os.environ" in modules[name].text, f"{name} does not read the environment"


BAD: list[tuple[Check, str, str]] = [
    (architecture.upward_imports, "hostbuild.oci.digest", "from hostbuild.store import cache\n"),
    (architecture.upward_imports, "hostbuild.oci.digest", "import hostbuild.store.cache\n"),
    (architecture.upward_imports, "hostbuild.oci.digest", "from hostbuild import store\n"),
    (architecture.upward_imports, "hostbuild.oci.digest", "from hostbuild import build\n"),
    (architecture.upward_imports, "hostbuild.oci.digest", "from hostbuild import anything\n"),
    (architecture.upward_imports, "hostbuild.oci.digest", "from ..store.cache import Cache\n"),
    (architecture.upward_imports, "hostbuild.oci.digest", "from .. import process\n"),
    (architecture.upward_imports, "hostbuild.store.cache", "from hostbuild.layer import write_layer\n"),
    (architecture.upward_imports, "hostbuild.layer.writer", "def f():\n    import hostbuild.source\n"),
    (architecture.upward_imports, "hostbuild.source.walk", "from hostbuild.store import hold\n"),
    (architecture.upward_imports, "hostbuild.errors", "import hostbuild.model\n"),
    (architecture.upward_imports, "hostbuild.build", "import hostbuild.cli.main\n"),
    (
        architecture.upward_imports,
        "hostbuild.model",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from hostbuild.store import cache\n",
    ),
    (architecture.upward_imports, "hostbuild.attic", "X = 1\n"),
    (architecture.foreign_imports, "hostbuild.registry.client", "import requests\n"),
    (architecture.foreign_imports, "hostbuild.build", "from requests.adapters import HTTPAdapter\n"),
    (architecture.foreign_imports, "hostbuild.source.walk", "def f():\n    from filelock import Timeout\n"),
    (architecture.foreign_imports, "hostbuild.vcs", "import subprocess as s\n"),
    (architecture.foreign_imports, "hostbuild.cli.main", "import psutil\n"),
    (architecture.foreign_imports, "hostbuild.cli.main", "import concurrent_log_handler\n"),
    (architecture.foreign_imports, "hostbuild.store.layout", "import os, tarfile\n"),
    (
        architecture.foreign_imports,
        "hostbuild.source.walk",
        "try:\n    import zlib\nexcept ImportError: ...\n",
    ),
    (architecture.foreign_imports, "hostbuild.build", "from deflate import gzip_compress\n"),
    (architecture.foreign_imports, "hostbuild.process.log", "import gzip\n"),
    (architecture.early_heavy_imports, "hostbuild.store.locks", "from filelock import UnixFileLock\n"),
    (architecture.early_heavy_imports, "hostbuild.process.command", "import subprocess\n"),
    (architecture.early_heavy_imports, "hostbuild.process.log", "import logging.handlers\n"),
    (architecture.early_heavy_imports, "hostbuild.source.ignore", "class A:\n    import pathspec\n"),
    (architecture.early_heavy_imports, "hostbuild.settings.x", "if True:\n    import yaml\n"),
    (architecture.early_heavy_imports, "hostbuild.layer.members", "from concurrent.futures import Future\n"),
    (architecture.early_heavy_imports, "hostbuild.layer.members", "from concurrent import futures\n"),
    (
        architecture.early_heavy_imports,
        "hostbuild.cli.main",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import os\nelse:\n    import asyncio\n",
    ),
    (architecture.ambient_reads, "hostbuild.build", "import os\nX = os.environ['HOME']\n"),
    (architecture.ambient_reads, "hostbuild.build", "import os\nX = os.getenv('HOME')\n"),
    (architecture.ambient_reads, "hostbuild.build", "from os import environ as e\n"),
    (architecture.ambient_reads, "hostbuild.oci.digest", "def f():\n    print('x')\n"),
    (architecture.missing_docstrings, "hostbuild.build", "class A:\n    pass\n"),
    (architecture.missing_docstrings, "hostbuild.build", "def f():\n    pass\n"),
    (architecture.missing_docstrings, "hostbuild.build", "async def f():\n    pass\n"),
    (architecture.missing_docstrings, "hostbuild.build", 'class A:\n    """A."""\n    def m(self): ...\n'),
    (architecture.missing_docstrings, "hostbuild.build", "if True:\n    def f(): ...\n"),
    (architecture.missing_docstrings, "hostbuild.build", 'def f():\n    """  """\n'),
    (architecture.too_long, "hostbuild.build", "X = 1\n" * 451),
]


@pytest.mark.parametrize(("check", "name", "text"), BAD)
def test_each_check_can_fail(check: Check, name: str, text: str) -> None:
    assert check(Module(name, HEAD + text)) != []


def test_a_module_without_a_docstring_is_found() -> None:
    assert architecture.missing_docstrings(Module("hostbuild.build", "X = 1\n")) != []
    assert architecture.missing_docstrings(Module("hostbuild.oci", "", is_package=True)) != []


GOOD = (
    HEAD
    + '''
from __future__ import annotations
import os
from typing import TYPE_CHECKING, overload
from concurrent import interpreters
from hostbuild.errors import StoreError
from hostbuild.oci.digest import Digest
from . import blobs
if TYPE_CHECKING:
    import logging
    from subprocess import Popen

class Public:
    """Doc."""
    def __init__(self): ...
    def _private(self): ...

class _Private:
    def method(self): ...

@overload
def many(x: int) -> int: ...
def many(x):
    """Doc."""
    from filelock import Timeout
    def inner(): ...
'''
)


@pytest.mark.parametrize("check", [*OF_THE_PACKAGE, architecture.too_long], ids=lambda check: check.__name__)
def test_what_is_right_is_accepted(check: Check) -> None:
    assert check(Module("hostbuild.store.cache", GOOD)) == []


def test_the_command_line_may_print_and_read_the_environment() -> None:
    assert architecture.ambient_reads(Module("hostbuild.cli.main", "import os\nprint(os.environ)\n")) == []
