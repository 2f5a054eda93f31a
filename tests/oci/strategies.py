"""What hypothesis makes up for the tests of this room."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

#: Any JSON value, as a parser would give it.
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def damaged(draw: st.DrawFn, document: dict[str, Any]) -> Any:
    """The document with one to three of its values, at any depth, replaced, removed or added to."""
    changed = _copy(document)
    for _ in range(draw(st.integers(1, 3))):
        where: Any = changed
        while True:
            keys = list(where) if isinstance(where, dict) else list(range(len(where)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(where[key], dict | list) and where[key] and draw(st.booleans()):
                where = where[key]
                continue
            if draw(st.integers(0, 4)) == 0:
                del where[key]
            else:
                where[key] = draw(JSON)
            break
    return changed


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(each) for key, each in value.items()}
    return [_copy(each) for each in value] if isinstance(value, list) else value
