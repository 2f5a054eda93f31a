"""What is shown or kept has no login in it, and is otherwise as it was."""

from __future__ import annotations

import pytest

from hostbuild.redact import redact


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:s3cret@host/app:1", "http://***@host/app:1"),
        ("GET https://s3cret@host/", "GET https://***@host/"),
        ("http://user:a@s3cret@host/x", "http://***@host/x"),
        ("http://user:a/s3cret@host/x", "http://***@host/x"),
        ("'user:s3cret@host:1/app:1' is", "'***@host:1/app:1' is"),
        ("user:a/s3cret@host/x", "***@host/x"),
        ("user:a@s3cret@host", "***@host"),
        ("type=registry,name=user:s3cret@host/app", "type=registry,name=***@host/app"),
        ("user:s3cret@[::1]:5000/app", "***@[::1]:5000/app"),
    ],
)
def test_logins(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "python:3.13-slim@sha256:4f2c",
        "localhost:5000/team/app:v1@sha256:4f2c",
        "docker://python:3.13@sha256:4f2c",
        "docker://localhost:5000/app@sha256:4f2c",
        "https://proxy.example:443/module/@v/list",
        "proxy.example:443/module/@v/list",
        "git@github.com:team/app",
        "go: example.com/module@v1.2.3: not found",
        "main.go:3:8: module@v1.2.3",
        "oci:/tmp/a@b",
        "@scope/package",
        "no login here: at all",
    ],
)
def test_what_is_no_login(text: str) -> None:
    assert redact(text) == text
