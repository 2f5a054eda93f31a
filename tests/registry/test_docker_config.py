from __future__ import annotations

import base64
import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from hostbuild.errors import CredentialsError, InvalidReferenceError
from hostbuild.registry.docker_config import (
    HUB,
    MAX_CONFIG,
    ConfigFile,
    Credential,
    canonical_key,
    drop_entries,
    edit_config,
    put_entry,
    read_config,
    registry_of,
)

from .wires import auth


def inline(document: dict[str, Any], registry: str, repository: str = "") -> list[tuple[str, str]]:
    found = ConfigFile("f", document).inline(registry, repository)
    return [(path, credential.user) for path, credential in found]


@pytest.mark.parametrize(
    ("key", "meaning"),
    [
        ("https://index.docker.io/v1/", HUB),
        ("index.docker.io", HUB),
        ("docker.io", HUB),
        ("registry-1.docker.io", HUB),
        ("docker.io/library", "docker.io/library"),
        ("reg.example", "reg.example"),
        ("Reg.Example:5000", "reg.example:5000"),
        ("https://reg.example", "reg.example"),
        ("http://reg.example:5000/v2/", "reg.example:5000"),
        ("https://reg.example/some/page", "reg.example"),
        ("reg.example/v2/", "reg.example"),
        ("reg.example/v1", "reg.example"),
        ("reg.example/team/app", "reg.example/team/app"),
    ],
)
def test_what_a_key_is_about(key: str, meaning: str) -> None:
    assert canonical_key(key) == meaning


@pytest.mark.parametrize("text", ["reg.example", " https://reg.example/v2/ ", "reg.example/v1/"])
def test_a_registry_as_a_user_names_it(text: str) -> None:
    assert registry_of(text) == "reg.example"


@pytest.mark.parametrize(
    "text", ["", "reg.example/team", "user@reg.example", "a b", "https://", "127.0.0.1:99999", "a_b.example"]
)
def test_what_is_no_registry(text: str) -> None:
    with pytest.raises(InvalidReferenceError, match="is not a registry"):
        registry_of(text)


def test_every_way_to_write_a_login() -> None:
    document = {
        "auths": {
            "plain": auth("joe", "pass:word"),
            "token": {"auth": base64.b64encode(b"joe:").decode(), "identitytoken": "idt"},
            "bearer": {"registrytoken": "rt"},
            "old": {"username": "joe", "password": "p", "email": "joe@example"},
            "nul": {"auth": base64.b64encode(b"joe:p\0\0").decode()},
            "empty": {},
            "blank": {"auth": ""},
        }
    }
    file = ConfigFile("/c.json", document)

    def only(registry: str) -> Credential:
        ((_, credential),) = file.inline(registry, "")
        assert credential.source == "/c.json"
        return credential

    assert only("plain") == Credential("joe", "pass:word")
    assert only("token") == Credential("joe", "", "idt")
    assert only("bearer") == Credential(registry_token="rt")
    assert only("old") == Credential("joe", "p")
    assert only("nul") == Credential("joe", "p")
    assert list(file.inline("empty", "")) == []
    assert list(file.inline("blank", "")) == []
    assert file.holds("empty")
    assert not file.holds("other")


def test_the_longest_match_comes_first_and_whole_components_count() -> None:
    document = {
        "auths": {
            "reg": auth("all", "x"),
            "reg/team": auth("team", "x"),
            "reg/team/app": auth("app", "x"),
            "reg/te": auth("te", "x"),
        }
    }
    assert inline(document, "reg", "team/app/x") == [
        ("reg/team/app", "app"),
        ("reg/team", "team"),
        ("reg", "all"),
    ]
    assert inline(document, "reg", "teams") == [("reg", "all")]
    assert inline(document, "reg") == [("reg", "all")]


def test_the_key_that_docker_writes_wins_over_other_spellings() -> None:
    document = {"auths": {"https://reg/v2/": auth("url", "x"), "reg": auth("exact", "x")}}
    assert inline(document, "reg")[0] == ("reg", "exact")
    hub = {"auths": {"docker.io": auth("short", "x"), "https://index.docker.io/v1/": auth("docker", "x")}}
    assert inline(hub, HUB)[0] == (HUB, "docker")


def test_an_empty_entry_does_not_hide_another_spelling() -> None:
    assert inline({"auths": {"reg": {}, "https://reg": auth("url", "x")}}, "reg") == [("reg", "url")]


def test_which_helper() -> None:
    document = {
        "credsStore": "desktop",
        "credHelpers": {"https://gcr.example": "gcloud", "docker.io": "hub", "none": ""},
    }
    file = ConfigFile("/c.json", document)
    assert file.helper("gcr.example") == "gcloud"
    assert file.helper(HUB) == "hub"
    assert file.helper("none") == ""
    assert file.helper("other") == "desktop"
    assert file.helper_origin("gcr.example") == "credHelpers in /c.json"
    assert file.helper_origin("other") == "credsStore in /c.json"
    assert ConfigFile("/c.json", {}).helper("other") == ""


SECRET = base64.b64encode(b"no-colon-but-secret").decode()


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"auth": "%%%secret%%%"}, "not base64"),
        ({"auth": SECRET}, "not base64 of user:password"),
        ({"auth": base64.b64encode(b"\xff:\xff").decode()}, "not base64"),
        ({"auth": 7}, "not a text"),
        ({"identitytoken": ["secret"]}, "not a text"),
        ("secret", "not an object"),
    ],
)
def test_a_broken_entry_is_an_error_only_where_it_is_needed(entry: object, why: str) -> None:
    document = {"auths": {"bad": entry, "good": auth("joe", "x")}}
    assert inline(document, "good") == [("good", "joe")]
    with pytest.raises(CredentialsError, match=why) as caught:
        inline(document, "bad")
    assert "secret" not in f"{caught.value} {caught.value.fix} {caught.value.__cause__}"
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"auths": {"reg": {"auth": "c2VjcmV0"}}', "line 1, column"),
        (b"[]", "not an object"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"auths": []}', ""),
        (b'{"auths": [1]}', "auths is not an object"),
        (b'{"credHelpers": "x"}', "credHelpers is not an object"),
        (b'{"credsStore": {}}', ""),
        (b'{"credsStore": ["x"]}', "credsStore is not a text"),
        (b"[" * 100_000, "not JSON"),
        (b" " * (MAX_CONFIG + 1), "bytes"),
    ],
)
def test_broken_files(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(data)
    if not why:
        assert read_config(str(path)) is not None
        return
    with pytest.raises(CredentialsError, match=why) as caught:
        read_config(str(path))
    assert str(path) in caught.value.what
    assert "hostbuild login" in caught.value.fix
    assert "c2VjcmV0" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"\n", b"{}", b"\xef\xbb\xbf{}"])
def test_empty_files_hold_nothing(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(data)
    file = read_config(str(path))
    assert file is not None
    assert not file.holds("reg")


def test_files_that_are_not_there(tmp_path: Path) -> None:
    assert read_config(str(tmp_path / "no" / "config.json")) is None
    assert read_config("/dev/null/config.json") is None


def test_a_directory_in_its_place_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="cannot be read") as caught:
        read_config(str(tmp_path))
    assert "directory" in caught.value.why


def test_who_can_read_it_matters_where_there_are_secrets() -> None:
    document = {"auths": {"reg": auth("joe", "x")}}
    assert ConfigFile("f", document, 0o100644).exposed
    assert not ConfigFile("f", document, 0o100600).exposed
    assert not ConfigFile("f", document, 0o100640).exposed
    assert not ConfigFile("f", {"auths": {"reg": {}}}, 0o100644).exposed


def test_no_repr_shows_a_secret() -> None:
    shown = repr(Credential("joe", "hunter2", "hunter3", "hunter4", source="/c.json"))
    assert "hunter" not in shown
    assert "joe" in shown


def test_an_edit_keeps_what_it_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    before: dict[str, Any] = {
        "HttpHeaders": {"X": "ü"},
        "auths": {
            "other": {"auth": "b3RoZXI=", "x-unknown": [1]},
            "reg": {"auth": "old", "identitytoken": "old", "email": "e", "x": 1},
        },
        "detachKeys": "ctrl-x",
        "plugins": {"a": {"b": None}},
    }
    path.write_text(json.dumps(before), encoding="utf-8")
    path.chmod(0o644)

    def edit(document: dict[str, Any]) -> bool:
        put_entry(document, "reg", auth("joe", "x"))
        return True

    assert edit_config(str(path), edit)
    after = json.loads(path.read_text(encoding="utf-8"))
    assert list(after) == list(before)
    assert after["auths"]["reg"] == {"email": "e", "x": 1, **auth("joe", "x")}
    assert after["auths"]["other"] == before["auths"]["other"]
    assert {name: after[name] for name in before if name != "auths"} == {
        name: before[name] for name in before if name != "auths"
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["config.json"]


def test_a_new_file_is_private_and_so_is_its_directory(tmp_path: Path) -> None:
    path = tmp_path / "new" / "config.json"
    old = os.umask(0)
    try:
        edit_config(str(path), lambda document: document.update(x=1) is None)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert json.loads(path.read_text()) == {"x": 1}


def test_a_strict_umask_does_not_lock_us_out(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    old = os.umask(0o277)
    try:
        edit_config(str(path), lambda document: document.update(x=1) is None)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_stays_one(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles" / "config.json"
    real.parent.mkdir()
    real.write_text("{}")
    link = tmp_path / "config.json"
    link.symlink_to(real)
    edit_config(str(link), lambda document: document.update(x=1) is None)
    assert link.is_symlink()
    assert json.loads(real.read_text()) == {"x": 1}


def test_an_edit_that_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{ "as" : "it was" }')
    assert not edit_config(str(path), lambda _document: False)
    assert path.read_text() == '{ "as" : "it was" }'


def test_an_edit_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("{}")

    def fail(_document: dict[str, Any]) -> bool:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        edit_config(str(path), fail)
    with pytest.raises(CredentialsError, match="cannot be written"):
        edit_config(str(path), lambda document: document.update(x="\ud800") is None)
    assert path.read_text() == "{}"
    assert os.listdir(tmp_path) == ["config.json"]


def test_a_broken_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("{ my logins")
    with pytest.raises(CredentialsError, match="cannot be understood"):
        edit_config(str(path), lambda _document: True)
    assert path.read_text() == "{ my logins"


def test_a_place_that_cannot_be_written() -> None:
    with pytest.raises(CredentialsError, match="cannot be written"):
        edit_config("/dev/null/x/config.json", lambda _document: True)


def test_an_edit_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    left = tmp_path / "config.json.0123456789abcdef.tmp"
    left.write_text("secrets")
    others = ["config.json.tmp", "config.json.0123456789abcdef", "other.json.0123456789abcdef.tmp"]
    for name in others:
        (tmp_path / name).touch()
    edit_config(str(path), lambda document: bool(document.setdefault("auths", {})) or True)
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted([*others, "config.json"])


def test_edits_at_once_lose_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "config.json")
    together = threading.Barrier(8)

    def one(number: int) -> None:
        together.wait()

        def edit(document: dict[str, Any]) -> bool:
            put_entry(document, f"reg{number}", auth("joe", "x"))
            return True

        edit_config(path, edit)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    file = read_config(path)
    assert file is not None
    assert all(file.holds(f"reg{number}") for number in range(8))


def test_dropping_takes_every_spelling_and_no_part() -> None:
    document: dict[str, Any] = {
        "auths": {
            "reg": {},
            "https://reg/v2/": {},
            "reg/team": {},
            "other": {},
            "https://index.docker.io/v1/": {},
        }
    }
    assert drop_entries(document, "reg")
    assert drop_entries(document, HUB)
    assert list(document["auths"]) == ["reg/team", "other"]
    assert not drop_entries(document, "reg")
    assert not drop_entries({}, "reg")
