from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from hostbuild.errors import BuildTimeoutError, CancelledTaskError, ToolError, ToolMissingError
from hostbuild.process.command import CAPTURE_LIMIT, capture, run, tool_name
from hostbuild.process.groups import ToolGroups
from hostbuild.process.marks import Marks

from .helpers import POLITE, STUBBORN, Word


def sh(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def test_output_is_merged_in_order_and_given_line_by_line(word: Word) -> None:
    lines: list[str] = []
    script = "echo one; echo two >&2; printf 'a\\r\\nno end'"
    completed = run(sh(script), cwd="/", env=word.environment(), on_line=lines.append)
    assert lines == ["one", "two", "a", "no end"]
    assert completed.output == "one\ntwo\na\r\nno end"
    assert completed.returncode == 0


def test_output_that_is_not_utf8_is_replaced(word: Word) -> None:
    assert run(sh("printf '\\377\\n'"), cwd="/", env=word.environment()).output == "\ufffd\n"


def test_long_output_keeps_its_start_and_its_end(word: Word) -> None:
    script = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done"
    seen: list[str] = []
    output = run(sh(script), cwd="/", env=word.environment(), limit=1000, on_line=seen.append).output
    assert len(seen) == 3000
    lines = output.splitlines()
    assert lines[0] == "line 0"
    assert lines[-1] == "line 2999"
    assert len(output) < 1200
    gaps = [line for line in lines if line.startswith("…")]
    whole = sum(len(line) + 1 for line in seen)
    kept = sum(len(line) + 1 for line in lines if not line.startswith("…"))
    assert gaps == [f"… {whole - kept} bytes left out …"]


def test_a_line_without_end_is_given_in_pieces(word: Word) -> None:
    pieces: list[str] = []
    script = "head -c 1000000 /dev/zero | tr '\\0' x"
    output = run(sh(script), cwd="/", env=word.environment(), on_line=pieces.append, limit=1000).output
    assert "".join(pieces) == "x" * 1_000_000
    assert max(map(len, pieces)) <= 2 * 65536
    assert len(output) < 1200


def test_failure_is_a_tool_error_with_the_output_as_it_was(word: Word) -> None:
    with pytest.raises(ToolError) as caught:
        run(sh("echo '  bad: x '; exit 7"), cwd="/", env=word.environment(), name="go build")
    assert caught.value.what == "go build failed with exit code 7"
    assert caught.value.detail == "  bad: x \n"
    assert caught.value.extra == {"returncode": 7}


def test_failure_by_a_signal_is_named(word: Word) -> None:
    with pytest.raises(ToolError, match=r"sh was killed by signal 9 \(SIGKILL\)") as caught:
        run(sh("kill -9 $$"), cwd="/", env=word.environment())
    assert "memory" in caught.value.why


def test_unchecked_failure_is_returned(word: Word) -> None:
    assert run(sh("exit 3"), cwd="/", env=word.environment(), check=False).returncode == 3


def test_missing_tool_names_the_path_that_was_searched(tmp_path: Path) -> None:
    with pytest.raises(ToolMissingError) as caught:
        run(["no-such-tool-here"], cwd="/", env={"PATH": str(tmp_path)})
    assert "no-such-tool-here was not found" in caught.value.what
    assert str(tmp_path) in caught.value.why


def test_the_tool_is_looked_for_in_the_path_of_its_own_environment(tmp_path: Path) -> None:
    tool = tmp_path / "own-tool"
    tool.write_text("#!/bin/sh\necho own\n")
    tool.chmod(0o755)
    assert run(["own-tool"], cwd="/", env={"PATH": str(tmp_path)}).output == "own\n"


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        ("#!/bin/sh\n", 0o644, "not executable"),
        ("#!/no/such/interpreter\n", 0o755, "interpreter"),
        ("\0neither script nor program", 0o755, "format"),
    ],
)
def test_a_tool_that_cannot_be_started_says_why(
    tmp_path: Path, word: Word, content: str, mode: int, reason: str
) -> None:
    tool = tmp_path / "tool"
    tool.write_text(content)
    tool.chmod(mode)
    with pytest.raises(ToolMissingError) as caught:
        run([str(tool)], cwd="/", env=word.environment())
    assert reason in caught.value.why


def test_a_missing_file_is_a_missing_tool(tmp_path: Path, word: Word) -> None:
    with pytest.raises(ToolMissingError, match="no such file"):
        run([str(tmp_path / "nothing")], cwd="/", env=word.environment())


def test_a_missing_working_directory_is_not_a_missing_tool(tmp_path: Path, word: Word) -> None:
    with pytest.raises(ToolError, match="working directory") as caught:
        run(sh("true"), cwd=tmp_path / "nowhere", env=word.environment())
    assert not isinstance(caught.value, ToolMissingError)


def test_a_nul_in_an_argument_is_refused(word: Word) -> None:
    with pytest.raises(ToolError, match="null byte"):
        run(sh("a\0b"), cwd="/", env=word.environment())


def test_the_environment_is_complete_and_marked() -> None:
    marks = Marks(build_id="abc", owner="/somewhere/staged")
    output = run(["/usr/bin/env"], cwd="/", env={"ONLY": "this"}, marks=marks).output
    assert sorted(output.splitlines()) == [
        "HOSTBUILD_BUILD_ID=abc",
        "HOSTBUILD_OWNER=/somewhere/staged",
        "ONLY=this",
    ]


def test_a_tool_has_no_input_no_terminal_and_no_inherited_descriptor(word: Word) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    script = "readlink /proc/self/fd/0; cut -d' ' -f1,5,6 /proc/$$/stat; ls /proc/$$/fd"
    lines = run(sh(script), cwd="/", env=word.environment()).output.splitlines()
    os.close(reader)
    os.close(writer)
    assert lines[0] == "/dev/null"
    assert len(set(lines[1].split())) == 1
    assert str(writer) not in lines[2:]


def test_a_grandchild_that_holds_the_output_does_not_hang_the_run(word: Word) -> None:
    completed = run(sh("sleep 300 & echo done"), cwd="/", env=word.environment())
    assert completed.output == "done\n"
    assert word.carriers() == []


def test_a_grandchild_that_closed_the_output_is_ended_too(word: Word) -> None:
    run(sh("sleep 300 >/dev/null 2>&1 & echo done"), cwd="/", env=word.environment())
    assert word.carriers() == []


def test_a_tool_that_closes_its_output_is_waited_for(word: Word) -> None:
    completed = run(
        sh("exec >/dev/null 2>&1; sleep 0.3; exit 5"), cwd="/", env=word.environment(), check=False
    )
    assert completed.returncode == 5


@pytest.mark.parametrize("script", [POLITE, "exec >/dev/null 2>&1; sleep 300", "yes"])
def test_after_the_deadline_the_tool_is_ended(word: Word, script: str) -> None:
    with pytest.raises(BuildTimeoutError, match="sh took too long"):
        run(sh(script), cwd="/", env=word.environment(), deadline=time.monotonic() + 0.3, limit=1000)
    assert word.carriers() == []


class Interruption(BaseException):
    """What the command line raises from a signal handler."""


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, Interruption])
def test_whatever_the_callback_raises_the_tool_is_ended(word: Word, kind: type[BaseException]) -> None:
    def refuse(_line: str) -> None:
        raise kind

    with pytest.raises(kind):
        run(sh(POLITE), cwd="/", env=word.environment(), on_line=refuse)
    assert word.carriers() == []


def test_interruptions_while_a_stubborn_tool_is_ended_do_not_spare_it(word: Word) -> None:
    handler = signal.signal(signal.SIGUSR1, _raise_interruption)
    timers = [threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGUSR1)) for seconds in (0.2, 0.5, 0.9)]

    def refuse(_line: str) -> None:
        for timer in timers:
            timer.start()
        raise Interruption

    try:
        with pytest.raises(Interruption):
            run(sh(STUBBORN), cwd="/", env=word.environment(), on_line=refuse)
    finally:
        for timer in timers:
            timer.join()
        signal.signal(signal.SIGUSR1, handler)
    # What left the session is found by its mark only, which is the supervisor's business.
    assert [line for line in word.carriers() if "sleep 301" not in line] == []
    for pid in word.pids():
        os.kill(pid, signal.SIGKILL)
    word.wait_gone()  # the test's own kill takes a moment


def _raise_interruption(_number: int, _frame: object) -> None:
    raise Interruption


def test_a_stop_from_another_thread_ends_the_tool_and_lets_no_other_start(word: Word) -> None:
    groups = ToolGroups()

    def stop(_line: str) -> None:
        thread = threading.Thread(target=groups.stop, kwargs={"kill_at": 0.0})
        thread.start()
        thread.join()

    with pytest.raises(ToolError, match="killed by"):
        run(sh(POLITE), cwd="/", env=word.environment(), on_line=stop, groups=groups)
    assert word.carriers() == []
    with pytest.raises(CancelledTaskError):
        run(sh("echo never"), cwd="/", env=word.environment(), groups=groups)


def test_a_stopped_tool_takes_the_term(word: Word) -> None:
    script = "trap 'exit 9' TERM; echo up; kill -STOP $$; sleep 300"
    groups = ToolGroups()
    stopper = threading.Timer(0.2, groups.stop, kwargs={"kill_at": float("inf")})
    completed = run(
        sh(script),
        cwd="/",
        env=word.environment(),
        groups=groups,
        check=False,
        on_line=lambda _line: stopper.start(),
    )
    stopper.join()
    assert completed.returncode == 9
    assert word.carriers() == []


def test_groups_are_told_of_start_and_end(word: Word) -> None:
    told: list[tuple[int, object]] = []
    groups = ToolGroups(lambda group, argv: told.append((group.number, argv)))
    run(sh("true"), cwd="/", env=word.environment(), groups=groups)
    (first, argv), (second, nothing) = told
    assert first == second
    assert argv == sh("true")
    assert nothing is None


def test_capture_keeps_output_and_error_apart(word: Word) -> None:
    captured = capture(sh("printf 'a\\377'; echo warn >&2; exit 4"), cwd="/", env=word.environment())
    assert (captured.returncode, captured.stdout, captured.stderr) == (4, b"a\xff", "warn\n")


def test_capture_checks_when_told(word: Word) -> None:
    with pytest.raises(ToolError, match="exit code 4") as caught:
        capture(sh("echo warn >&2; exit 4"), cwd="/", env=word.environment(), check=True)
    assert caught.value.detail == "warn\n"


def test_capture_ends_what_takes_too_long(word: Word) -> None:
    with pytest.raises(BuildTimeoutError):
        capture(sh(POLITE), cwd="/", env=word.environment(), timeout=0.2)
    assert word.carriers() == []


def test_capture_feeds_standard_input(word: Word) -> None:
    data = b"secret\n" * 100_000  # more than a pipe holds
    assert capture(["/bin/cat"], cwd="/", env=word.environment(), stdin=data).stdout == data
    assert capture(["/bin/cat"], cwd="/", env=word.environment(), stdin=b"").stdout == b""
    assert capture(["/bin/cat"], cwd="/", env=word.environment()).stdout == b""


def test_capture_of_a_tool_that_does_not_read_what_it_is_fed(word: Word) -> None:
    captured = capture(sh("exec <&-; echo done"), cwd="/", env=word.environment(), stdin=b"x" * 1_000_000)
    assert (captured.returncode, captured.stdout) == (0, b"done\n")


def test_capture_ends_a_tool_that_neither_reads_nor_ends(word: Word) -> None:
    with pytest.raises(BuildTimeoutError):
        capture(sh(POLITE), cwd="/", env=word.environment(), timeout=0.2, stdin=b"x" * 1_000_000)
    assert word.carriers() == []


@pytest.mark.parametrize("where", ["1", "2"])
def test_capture_ends_a_tool_that_writes_without_end(word: Word, where: str) -> None:
    with pytest.raises(ToolError, match=r"^sh was stopped: it wrote more than the 100000 bytes"):
        capture(sh(f"exec yes >&{where}"), cwd="/", env=word.environment(), limit=100_000)
    assert word.carriers() == []


def test_capture_has_a_bound_of_its_own(word: Word) -> None:
    script = f"head -c {CAPTURE_LIMIT} /dev/zero"
    assert len(capture(sh(script), cwd="/", env=word.environment()).stdout) == CAPTURE_LIMIT
    with pytest.raises(ToolError, match="more than"):
        capture(sh(f"{script}; echo"), cwd="/", env=word.environment())


def test_capture_does_not_wait_for_what_a_tool_leaves_behind(word: Word) -> None:
    captured = capture(sh("sleep 50 & echo done"), cwd="/", env=word.environment(), timeout=20)
    assert (captured.returncode, captured.stdout) == (0, b"done\n")
    assert word.carriers() == []


def test_capture_of_a_missing_tool() -> None:
    with pytest.raises(ToolMissingError):
        capture(["no-such-tool-here"], cwd="/", env={})


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["/usr/bin/go", "build", "-o", "f"], "go build"),
        (["git", "-C", "x"], "git"),
        (["/opt/tool"], "tool"),
        (["sh", "./script.sh"], "sh"),
    ],
)
def test_what_errors_call_a_tool(argv: list[str], name: str) -> None:
    assert tool_name(argv) == name
