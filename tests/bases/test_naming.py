"""How a base is named."""

from __future__ import annotations

import pytest

from hostbuild.bases import SCRATCH, parse_base
from hostbuild.errors import InvalidReferenceError, UsageError


@pytest.mark.parametrize(
    ("text", "kind", "place"),
    [
        ("python:3.13-slim", "registry", "python:3.13-slim"),
        ("python", "registry", "python:latest"),
        ("docker://alpine:3", "registry", "alpine:3"),
        ("registry.example/a/b:1", "registry", "registry.example/a/b:1"),
        ("oci:dir", "oci", "dir"),
        ("oci:dir:tag", "oci", "dir:tag"),
        ("oci-archive:a.tar", "oci-archive", "a.tar"),
        ("docker-archive:/x/a.tar", "docker-archive", "/x/a.tar"),
    ],
)
def test_a_base_is_a_reference_or_a_place(text: str, kind: str, place: str) -> None:
    name = parse_base(text)
    assert (name.kind, name.place) == (kind, place)
    assert parse_base(str(name)) == name


def test_scratch_is_nothing() -> None:
    assert parse_base("scratch") == SCRATCH
    assert str(SCRATCH) == "scratch"


def test_a_place_below_a_directory() -> None:
    assert parse_base("oci:base", "/src").place == "/src/base"
    assert parse_base("oci:/base", "/src").place == "/base"


def test_bad_names_are_refused() -> None:
    with pytest.raises(UsageError, match="names no place"):
        parse_base("oci:")
    with pytest.raises(InvalidReferenceError):
        parse_base("No Such Thing")
