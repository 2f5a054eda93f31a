import json
import sys
from pathlib import Path
from typing import Any

import pytest

from hostbuild.errors import SettingsError
from hostbuild.settings.funcfile import parse_function, read_function

FULL = b"""\
specVersion: 0.36.0
name: hello
runtime: go
registry: registry.example/team/
image: registry.example/team/hello:v1
invoke: cloudevent
created: 2024-01-01T00:00:00Z
build:
  baseImage: scratch
  buildEnvs:
  - name: GOPRIVATE
    value: example.com
run:
  envs:
  - name: PLAIN
    value: text
  - name: NUMBER
    value: 42
  - name: HERE
    value: "<{{ env:WHO }}>"
  - name: PASSWORD
    value: "{{ secret:db:password }}"
  - value: "{{ configMap:all }}"
  volumes:
  - secret: s
    path: /workspace/secret
deploy:
  namespace: default
"""


def test_all_fields_that_matter_to_a_build() -> None:
    function = parse_function(FULL, {"WHO": "me"})
    assert function.name == "hello"
    assert function.registry == "registry.example/team"
    assert function.image == "registry.example/team/hello:v1"
    assert function.invoke == "cloudevent"
    assert function.base_image == "scratch"
    assert function.build_env == (("GOPRIVATE", "example.com"),)
    assert function.volumes == ("/workspace/secret",)


def test_templates_are_resolved_and_the_clusters_never_enter() -> None:
    function = parse_function(FULL, {"WHO": "me"})
    assert function.env == (("PLAIN", "text"), ("NUMBER", "42"), ("HERE", "<me>"))


BAD = [
    ("name: [", "func.yaml:2:1", "not valid YAML"),
    ("- a\n- b\n", "func.yaml:1:1", "not a mapping"),
    ("name: {a: b}\n", "func.yaml:1:7", "name is not a text"),
    ("name: x\nname: y\n", "func.yaml:2:1", "'name' stands twice"),
    ("run:\n  envs: 5\n", "func.yaml:2:9", "not a list"),
    ("run:\n  envs:\n  - name: A\n", "func.yaml:3:11", "the value of A in run.envs is null"),
    ("run:\n  envs:\n  - name: A\n    value:\n", "func.yaml:4:11", "the value of A in run.envs is null"),
    ("run:\n  envs:\n  - name:\n    value: x\n", "func.yaml:3:10", "has no name"),
    ("run:\n  envs:\n  - name:\n    value:\n", "func.yaml:3:10", "a name in run.envs is null"),
    ("run:\n  envs:\n  - name: 'A=B'\n    value: x\n", "func.yaml:3:11", "not a variable's name"),
    ("run:\n  envs:\n  - name: A\n    value: '{{ env:NO }}'\n", "func.yaml:4:12", "not set"),
    ("run:\n  envs:\n  - name: A\n    value: '{{ what }}'\n", "func.yaml:4:12", "not understood"),
    ("run:\n  volumes:\n  - path: here\n", "func.yaml:3:11", "not absolute"),
    ("run:\n  volumes:\n  - secret: x\n", "func.yaml:3:5", "path in run.volumes is null"),
    ("build: [1]\n", "func.yaml:1:8", "build is not a mapping"),
]


@pytest.mark.parametrize(("text", "place", "words"), BAD)
def test_bad_files_are_named_by_line_and_column(text: str, place: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_function(text.encode(), {})
    assert caught.value.what.startswith(place + ":")
    assert words in caught.value.what
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("data", [b"\xff\xfe\x00bad", b"\x00", b"a: \x80\n", b"[" * 100_000])
def test_bytes_that_are_no_yaml_are_one_clear_error(data: bytes) -> None:
    with pytest.raises(SettingsError, match=r"func\.yaml"):
        parse_function(data, {})


def test_an_empty_file_and_none(tmp_path: Path) -> None:
    assert parse_function(b"", {}).name == ""
    assert read_function(str(tmp_path), {}) is None


class Memory:
    """What was kept, as JSON has it."""

    def __init__(self) -> None:
        self.kept: dict[bytes, str] = {}

    def recall(self, data: bytes) -> dict[str, Any] | None:
        found: dict[str, Any] | None = json.loads(self.kept.get(data, "null"))
        return found

    def keep(self, data: bytes, value: dict[str, Any]) -> None:
        self.kept[data] = json.dumps(value)


WITHOUT_SECRETS = FULL.replace(b"buildEnvs", b"others")


def outcome(data: bytes, parsed: Memory | None) -> object:
    try:
        return parse_function(data, {"WHO": "me"}, parsed)
    except SettingsError as error:
        return (error.what, error.why, error.fix)


@pytest.mark.parametrize(
    "data",
    [
        FULL,
        WITHOUT_SECRETS,
        b"",
        b"name: null\nrun:\n",
        b"other: [1, {a: b}]\nname: x\n",
        *(text.encode() for text, _, _ in BAD),
    ],
)
def test_what_was_parsed_before_says_the_same(data: bytes) -> None:
    memory = Memory()
    first = outcome(data, None)
    assert [outcome(data, memory) for _ in range(3)] == [first] * 3
    other = data.replace(b"name: ", b"name: Z")
    assert outcome(other, memory) == outcome(other, None)


def test_what_was_parsed_before_needs_no_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory()
    first = outcome(WITHOUT_SECRETS, memory)
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert outcome(WITHOUT_SECRETS, memory) == first
    assert "{{ env:WHO }}" in memory.kept[WITHOUT_SECRETS]  # resolved each time
    with pytest.raises(SettingsError, match="names a variable that is not set"):
        parse_function(WITHOUT_SECRETS, {}, memory)


def test_variables_of_tools_are_kept_nowhere() -> None:
    memory = Memory()
    outcome(FULL, memory)
    assert memory.kept == {}


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"fields": 5}',
        '{"fields": {"name": 5}}',
        '{"fields": {"name": ["x", 1]}}',
        '{"fields": {"name": ["x", "1", 1]}}',
        '{"fields": {"name": [5, 1, 1]}}',
        '{"fields": {"run": [{"envs": [[7], 1, 1]}, 1, 1]}}',
    ],
)
def test_a_damaged_memory_is_none(text: str) -> None:
    memory = Memory()
    memory.kept[WITHOUT_SECRETS] = text
    assert outcome(WITHOUT_SECRETS, memory) == outcome(WITHOUT_SECRETS, None)
    assert memory.kept[WITHOUT_SECRETS] != text
