from __future__ import annotations

import os
import pickle

import pytest

from hostbuild.errors import BuildTimeoutError, ToolError
from hostbuild.process.executor import Executor, InlineExecutor, Task
from hostbuild.process.marks import Marks
from hostbuild.process.supervisor import LocalExecutor

from .helpers import POLITE, Recorder, Word
from .tasks import task


@pytest.mark.parametrize("name", ["", "module", "module:", ":name", "__main__:run"])
def test_a_task_needs_a_function_that_another_process_can_import(name: str) -> None:
    with pytest.raises(ValueError, match="not the name of a function"):
        Task("label", name, None)


def test_a_task_is_a_value() -> None:
    one = task("double", 2)
    assert pickle.loads(pickle.dumps(one)) == one


def test_a_method_can_be_named() -> None:
    method: object = Word.carriers
    assert Task("label", "tests.process.helpers:Word.carriers", None).resolve() is method


@pytest.mark.parametrize("name", ["tests.process.nothing:f", "tests.process.tasks:nothing"])
def test_a_function_that_does_not_exist(name: str, recorder: Recorder) -> None:
    with pytest.raises((ImportError, AttributeError)):
        InlineExecutor().run([Task("label", name, None)], recorder)


def test_both_executors_run_the_same_tasks(recorder: Recorder) -> None:
    tasks = [task("double", number) for number in range(5)]
    with LocalExecutor(jobs=2, environment=Word().environment()) as local:
        executors: list[Executor] = [InlineExecutor(), local]
        assert [executor.run(tasks, recorder) for executor in executors] == [[0, 2, 4, 6, 8]] * 2


def test_inline_runs_in_this_process(recorder: Recorder) -> None:
    assert InlineExecutor().run([task("where", 0.0)], recorder) == [os.getpid()]


def test_inline_events_and_tools_carry_label_and_marks(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOSTBUILD_OWNER", "another")
    executor = InlineExecutor(Marks(build_id="b1", owner="/o"))
    script = "echo $HOSTBUILD_BUILD_ID $HOSTBUILD_OWNER"
    assert executor.run([task("run_script", script, "linux/arm64")], recorder) == ["b1 /o\n"]
    assert [event.kind for event in recorder.events] == ["tool", "output", "tool-end"]
    assert {event.platform for event in recorder.events} == {"linux/arm64"}
    assert recorder.events[0].data["argv"] == ["/bin/sh", "-c", script]


def test_inline_errors_name_the_task(recorder: Recorder) -> None:
    with pytest.raises(ToolError) as caught:
        InlineExecutor().run([task("fail", "broken", "linux/arm/v7"), task("leave")], recorder)
    assert caught.value.platform == "linux/arm/v7"
    with pytest.raises(KeyError) as bug:
        InlineExecutor().run([task("bug", label="linux/arm64")], recorder)
    assert bug.value.__notes__ == ["in the task of linux/arm64"]


def test_inline_timeout_ends_the_tool(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    word = Word()
    for name, value in word.environment().items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BuildTimeoutError) as caught:
        InlineExecutor().run([task("run_script", POLITE, "linux/arm64")], recorder, timeout=0.3)
    assert caught.value.platform == "linux/arm64"
    mine = str(os.getpid())
    assert [line for line in word.carriers() if line.split()[0] != mine] == []


def test_inline_timeout_begins_no_further_task(recorder: Recorder) -> None:
    with pytest.raises(BuildTimeoutError, match="not begun"):
        InlineExecutor().run([task("where", 0.2), task("where", 0.0)], recorder, timeout=0.1)
