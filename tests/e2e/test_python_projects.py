"""Projects of every kind for three platforms: each image runs, and holds what pip would install there.

pip is the judge: it resolves the same requirements, unpinned, at the same time, inside the emulated system
of the platform, and must come to the same versions and the same files, byte for byte.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.rig.layout import Image
from tests.rig.python_base import python_base
from tests.rig.python_image import (
    answering,
    built,
    check_records,
    image_over,
    inventory,
    run_directory,
    unpacked,
)
from tests.rig.python_judge import PipJudge, installed_in, pip_directory
from tests.rig.python_sets import ANSWERS, MACHINES, PROJECTS

CASES = [(name, platform) for name, project in PROJECTS.items() for platform in project.platforms]
JUDGED = [(name, platform) for name, platform in CASES if platform in PROJECTS[name].judged]


def each(cases: list[tuple[str, str]]) -> pytest.MarkDecorator:
    ids = [f"{name}-{platform.replace('/', '-')}" for name, platform in cases]
    return pytest.mark.parametrize(("name", "platform"), cases, ids=ids)


@pytest.fixture
def layout(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = PROJECTS[name]
    platforms = ",".join(project.platforms)
    base = python_base().place
    return built(tmp_path_factory, name, project.files, "--base", base, "--platform", platforms)


@pytest.fixture
def image(layout: Path, platform: str) -> Image:
    return image_over(python_base(), layout, platform)


@each(JUDGED)
def test_it_has_what_pip_installs(
    name: str, platform: str, image: Image, tmp_path_factory: pytest.TempPathFactory
) -> None:
    check_records(image)
    judge = PipJudge.made(run_directory(tmp_path_factory), platform)
    ours, theirs = installed_in(image), judge.install(name, PROJECTS[name].requirements)
    assert ours.versions == theirs.versions
    assert ours.files == theirs.files


@each(CASES)
def test_it_answers(name: str, platform: str, image: Image, layout: Path, tmp_path: Path) -> None:
    project = PROJECTS[name]
    with unpacked(python_base(), layout, image, tmp_path) as root:
        seen = inventory(image, root, *project.modules, but=project.inert, pip=pip_directory())
        assert seen == dict(installed_in(image).versions)
        with answering(image, root, tmp_path / "log") as service:
            answer = service.request()
    own = ANSWERS.get(name, {}).get(platform, "")
    wanted = project.answer.replace("MACHINE", MACHINES[platform]).replace("ANSWER", own)
    assert answer.status == 200, (tmp_path / "log").read_text()
    assert json.loads(answer.body) == json.loads(wanted)
