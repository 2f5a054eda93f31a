"""What the tests of tokens share."""

from __future__ import annotations

from hostbuild.registry.patience import Pacing

REALM = "https://auth.example/token"
PULL = ("repository:team/app:pull",)
PUSH = ("repository:team/app:push,pull", "repository:base:pull")
NO_WAIT = Pacing(sleep=lambda _seconds: None)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now
