"""Stored logins that no request can carry: refused with the place's name, and without their value."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hostbuild.errors import CredentialsError
from hostbuild.model import Access
from hostbuild.process.command import Captured
from hostbuild.registry.credentials import CredentialStore
from hostbuild.registry.docker_config import read_config
from hostbuild.registry.helpers import Helper

HALF = "hunter2\ud800"  # half of a character, which JSON can spell


@pytest.mark.parametrize(
    "entry",
    [
        {"username": HALF, "password": "x"},
        {"username": "joe", "password": HALF},
        {"identitytoken": HALF},
        {"registrytoken": HALF},
        {"registrytoken": "hunter2€"},
        {"registrytoken": "hunter2\r\nX-Evil: 1"},
        {"registrytoken": "hunter2 hunter2"},
    ],
)
def test_an_entry_of_a_file(tmp_path: Path, entry: dict[str, str]) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"auths": {"reg.example": entry}}))
    file = read_config(str(path))
    assert file is not None
    with pytest.raises(CredentialsError) as caught:
        list(file.inline("reg.example", "team/app"))
    assert caught.value.what == f"{path} cannot be understood"
    assert "the entry of 'reg.example'" in caught.value.why
    assert "hunter2" not in f"{caught.value!r}{caught.value.why}{caught.value.fix}{caught.value.detail}"


def test_other_alphabets_are_no_oddity(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"auths": {"reg.example": {"username": "jörg", "password": "пароль€"}}}))
    file = read_config(str(path))
    assert file is not None
    assert [login.secret for _, login in file.inline("reg.example", "")] == ["пароль€"]


@pytest.mark.parametrize(("user", "secret"), [(HALF, "x"), ("joe", HALF), ("<token>", HALF)])
def test_what_a_helper_gives(user: str, secret: str) -> None:
    answer = json.dumps({"Username": user, "Secret": secret}).encode()

    def run(argv: object, **_: object) -> Captured:
        return Captured(0, answer, "")

    with pytest.raises(CredentialsError, match="docker-credential-x gave no credentials") as caught:
        Helper("x", {}, run).get("reg.example")
    assert "reg.example" in caught.value.what
    assert "hunter2" not in f"{caught.value!r}{caught.value.why}{caught.value.fix}"


def test_a_login_that_was_given() -> None:
    with pytest.raises(CredentialsError, match=r"given for reg\.example cannot be understood") as caught:
        CredentialStore(Access(credentials=(("reg.example", f"joe:{HALF}"),))).find("reg.example")
    assert "hunter2" not in str(caught.value)
