from __future__ import annotations

import pytest

from hostbuild.errors import SettingsError
from hostbuild.settings.quantities import parse_age, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("45s", 45),
        ("90m", 5400),
        ("12h", 43_200),
        ("30d", 2_592_000),
        ("2w", 1_209_600),
        ("1.5h", 5400),
        ("2h30m", 9000),
        ("1w2d3h4m5.5s", 788_645.5),
    ],
)
def test_ages(text: str, seconds: float) -> None:
    assert parse_age(text, "--older-than") == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "-7d",
        "+7d",
        "7 d",
        " 7d",
        "7d ",
        "7D",
        "7y",
        "d",
        "1.d",
        ".5d",
        "1..5d",
        "٣d",
        "1e3s",
        "7d\n",
    ],
)
def test_no_ages(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_age(text, "--older-than")
    assert str(caught.value) == f"--older-than: {text!r} is not an age"
    assert "30d" in caught.value.fix


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1", 1),
        ("10b", 10),
        ("10B", 10),
        ("32k", 32_768),
        ("32kB", 32_768),
        ("32KiB", 32_768),
        ("32 Ki", 32_768),
        ("512MB", 536_870_912),
        ("10G", 10_737_418_240),
        ("1.5TiB", 1_649_267_441_664),
        ("2p", 2_251_799_813_685_248),
        ("0.5", 0),
        ("9007199254740993", 9_007_199_254_740_993),
    ],
)
def test_sizes_are_those_of_buildx(text: str, size: int) -> None:
    assert parse_size(text, "--max-used-space") == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "+1",
        "G",
        "10X",
        "10KK",
        "10  G",
        " 10G",
        "10G ",
        "10%",
        "1.2.3G",
        "1,5G",
        "٣G",
        "1e3",
        "10G\n",
    ],
)
def test_no_sizes(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_size(text, "--max-used-space")
    assert str(caught.value) == f"--max-used-space: {text!r} is not a size"


@pytest.mark.parametrize("number", ["9" * 19, "9" * 400, "9" * 5000])
def test_what_no_machine_has(number: str) -> None:
    with pytest.raises(SettingsError, match="is too large"):
        parse_age(f"{number}w", "x")
    with pytest.raises(SettingsError, match="is too large"):
        parse_size(f"{number}P", "x")
