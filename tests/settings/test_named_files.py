"""Files that are named for registries, and what is wrong with them, before anything is asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hostbuild.errors import SettingsError
from hostbuild.settings.load import load_access
from hostbuild.settings.named_files import check_authorities, check_logins
from tests.rig.tls import Authority

KEY = "-----BEGIN PRIVATE KEY-----\nMAMBAf8=\n-----END PRIVATE KEY-----\n"
DAMAGED = "-----BEGIN CERTIFICATE-----\nMAMB*\n-----END CERTIFICATE-----\n"


def test_a_real_authority(tmp_path: Path) -> None:
    file = Authority(tmp_path).ca_file
    check_authorities(str(file))
    both = tmp_path / "both.pem"
    both.write_text(f"words\n{KEY}{Path(file).read_text()}")
    check_authorities(str(both))
    check_authorities("")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"hello", "no certificate"),
        (KEY.encode(), "a private key"),
        (DAMAGED.encode(), "damaged"),
        (b"\x30\x82\x01\x00", "DER"),
    ],
)
def test_what_is_no_authority(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match="--ca-file") as caught:
        load_access("r.example/x", {"ca-file": str(path)}, {})
    assert why in caught.value.why
    assert caught.value.fix
    assert caught.value.exit_code == 2


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (str(tmp_path / "none"), str(tmp_path)):
        with pytest.raises(SettingsError, match="--ca-file") as caught:
            load_access(None, {"ca-file": path}, {})
        assert caught.value.fix
        with pytest.raises(SettingsError, match="--authfile") as caught:
            load_access("r.example/x", {"authfile": path}, {})
        assert caught.value.fix
        load_access(None, {"authfile": path}, {})  # login makes it
    (tmp_path / "auth.json").write_text("{}")
    check_logins(str(tmp_path / "auth.json"))


def test_a_pipe_is_left_to_who_needs_it() -> None:
    reading, writing = os.pipe()
    try:
        check_authorities(f"/dev/fd/{reading}")
    finally:
        os.close(reading)
        os.close(writing)
