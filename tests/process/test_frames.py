from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.errors import HostbuildError, ToolError
from hostbuild.model import Event
from hostbuild.process import frames
from hostbuild.process.frames import Frame, FrameDecoder, FrameError

from .tasks import DeafError, UnpicklableError

_FRAMES = st.lists(st.builds(Frame, st.sampled_from([b"E", b"D", b"X", b"R"]), st.binary(max_size=300)))


@given(_FRAMES, st.lists(st.integers(0, 2000)))
def test_frames_come_back_however_the_bytes_are_cut(sent: list[Frame], cuts: list[int]) -> None:
    data = b"".join(frame.encode() for frame in sent)
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    decoder = FrameDecoder()
    got = [frame for start, end in pairwise(edges) for frame in decoder.feed(data[start:end])]
    assert got == sent


@given(st.builds(Frame, st.just(b"E"), st.binary(min_size=1, max_size=50)), st.data())
def test_a_frame_that_was_not_ended_is_not_given(frame: Frame, data: st.DataObject) -> None:
    whole = frame.encode()
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert list(FrameDecoder().feed(whole[:cut])) == []


def test_what_is_no_frame_is_refused_after_those_before_it() -> None:
    decoder = FrameDecoder()
    frames_then_garbage = decoder.feed(Frame(b"R", b"").encode() + b"stray print\n")
    assert next(frames_then_garbage) == Frame(b"R", b"")
    with pytest.raises(FrameError, match="stray"):
        next(frames_then_garbage)


def test_an_absurd_length_is_refused() -> None:
    with pytest.raises(FrameError):
        list(FrameDecoder().feed(b"E\xff\xff\xff\xff"))


@given(
    st.builds(
        Event,
        kind=st.text(max_size=5),
        message=st.text(max_size=20),
        platform=st.text(max_size=5),
        data=st.dictionaries(st.text(max_size=3), st.none() | st.integers() | st.lists(st.text(max_size=3))),
    )
)
def test_events_come_back(event: Event) -> None:
    assert frames.decode_event(frames.encode_event(event)) == event


def test_an_event_with_a_surrogate_comes_back() -> None:
    event = Event("entry", "f\udcff")
    assert frames.decode_event(frames.encode_event(event)) == event


def _raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return frames.decode_error(frames.encode_error(caught))


def test_an_error_comes_back_with_all_its_parts_and_the_traceback() -> None:
    error = _raised(ToolError("w", why="y", fix="f", detail="d", platform="p", returncode=3))
    assert isinstance(error, ToolError)
    assert (error.what, error.why, error.fix, error.detail, error.platform) == ("w", "y", "f", "d", "p")
    assert error.extra == {"returncode": 3}
    assert "test_frames.py" in error.__notes__[0]


@pytest.mark.parametrize("error", [UnpicklableError("some text"), DeafError("some ", "text")])
def test_an_error_that_does_not_pickle_becomes_its_text(error: Exception) -> None:
    got = _raised(error)
    assert type(got) is HostbuildError
    assert got.what.endswith(f"{type(error).__name__}: some text")
    assert "Traceback" in got.detail
