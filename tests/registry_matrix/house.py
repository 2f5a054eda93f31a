"""What the cells of the matrix happen in: a registry with tokens, its storage without, a cell's own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hostbuild.model import Access, Event
from hostbuild.oci.reference import Reference
from tests.rig.fault_proxy import FaultProxy
from tests.rig.pulling import Puller
from tests.rig.raw import Raw
from tests.rig.registries import Kind, Registry
from tests.rig.tokens import ALL_ACTIONS, ANYBODY_PULLS, Account, TokenServer

USER, SECRET = "bob", "correct-horse"
#: Seconds that a request is tried again: where it must succeed in the end, and where it cannot.
LONG, SHORT = 20.0, 0.25
SIGNATURE = "X-Signature=very-secret"


@dataclass
class House:
    """`registry` asks for tokens; `back_door` serves the same storage to everybody."""

    tokens: TokenServer
    registry: Registry
    back_door: Raw
    puller: Puller


@contextmanager
def open_house(kind: Kind, directory: Path) -> Iterator[House]:
    with ExitStack() as stack:
        accounts = {USER: Account(SECRET, {"*": ALL_ACTIONS})}
        tokens = stack.enter_context(TokenServer(accounts=accounts, anonymous=ANYBODY_PULLS))
        storage = directory / "storage"
        registry = stack.enter_context(Registry(kind, directory / "front", tokens=tokens, storage=storage))
        behind = stack.enter_context(Registry(kind, directory / "behind", storage=storage))
        yield House(tokens, registry, Raw(behind.address), Puller(directory / "puller"))


@dataclass
class Stage:
    """One cell's own: the proxy before the registry, another host, a repository, and all that was said."""

    house: House
    proxy: FaultProxy
    other: FaultProxy
    repository: str
    directory: Path
    events: list[Event] = field(default_factory=list)
    retry_time: float = LONG
    silence: float = 20.0
    mount_from: tuple[str, ...] = ()
    manifest_by_digest: bool = False

    @property
    def access(self) -> Access:
        return Access(
            environment={"HOME": str(self.directory)},
            credentials=((self.proxy.address, f"{USER}:{SECRET}"),),
            retry_time=self.retry_time,
            silence=self.silence,
        )

    @property
    def reference(self) -> Reference:
        return Reference.parse(f"{self.proxy.address}/{self.repository}:v1")

    def said(self) -> str:
        """All events, as text."""
        return "\n".join(f"{event.message} {json.dumps(dict(event.data))}" for event in self.events)

    def waits(self) -> list[float]:
        """The seconds that hostbuild said it waits."""
        return [float(event.data["seconds"]) for event in self.events if event.kind == "waiting"]

    def secrets(self) -> set[str]:
        """What may stand in no message: the password, its encodings, all tokens, the signature."""
        sent = {value.partition(" ")[2] for value in self.proxy.secrets()}
        asked = {
            request.headers.get("Authorization", " ").partition(" ")[2]
            for request in self.house.tokens.requests
        }
        return {text for text in sent | asked | {SECRET, "very-secret"} if text}


@contextmanager
def open_stage(house: House, repository: str, directory: Path) -> Iterator[Stage]:
    with (
        FaultProxy(house.registry.address) as proxy,
        FaultProxy(house.back_door.address, host="127.0.0.2") as other,
    ):
        house.tokens.lifetime, house.tokens.told_lifetime = 300, None
        yield Stage(house, proxy, other, repository, directory)


def random_bytes(count: int) -> bytes:
    """Bytes that no other cell has, so that what lies in the storage came from this one."""
    return os.urandom(count)
