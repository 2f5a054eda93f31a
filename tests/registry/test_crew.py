"""How a push ends before its end: the first error, an interruption, and threads that hold nothing up."""

from __future__ import annotations

import io
import signal
import threading
from typing import BinaryIO

import pytest

from hostbuild.crew import Crew
from hostbuild.errors import RegistryError, SourceError, UnreachableError
from hostbuild.model import Access
from hostbuild.oci.descriptor import Descriptor
from hostbuild.oci.digest import Digest
from hostbuild.registry import push
from tests.registry.image import Client, Content, client
from tests.registry.server import Handler, MemoryRegistry, status
from tests.registry.test_push import everything_is_there, references


@pytest.fixture
def content() -> Content:
    return Content()


@pytest.fixture
def root(content: Content) -> Descriptor:
    return content.index(content.image("amd64", [b"one", b"two"]))


class Bad(Content):
    """One blob fails; the others are slow."""

    def __init__(self) -> None:
        super().__init__()
        self.failing = Digest.of(b"bad")

    def open(self, descriptor: Descriptor, offset: int) -> BinaryIO:
        if descriptor.digest == self.failing:
            raise SourceError("the layer cannot be had")
        return super().open(descriptor, offset)


def test_the_first_error_stops_the_rest(user: Client, registry: MemoryRegistry) -> None:
    content = Bad()
    layers = [b"bad", *(b"%d" % number for number in range(30))]
    root = content.image("amd64", layers)
    with pytest.raises(SourceError, match="cannot be had"):
        push(user.registries, root, content, references(registry, "app:v1"), parallel=1)
    assert len(content.opened) < 30
    assert registry.manifests["app"] == {}


def test_parallel_is_bounded(user: Client, registry: MemoryRegistry) -> None:
    running: list[int] = []
    most: list[int] = []
    lock = threading.Lock()

    class Counting(io.BytesIO):
        def __init__(self, data: bytes) -> None:
            super().__init__(data)
            with lock:
                running.append(1)
                most.append(len(running))

        def close(self) -> None:
            if not self.closed:
                with lock:
                    running.pop()
            super().close()

    class Counted(Content):
        def open(self, descriptor: Descriptor, offset: int) -> BinaryIO:
            return Counting(self.data[descriptor.digest])

    content = Counted()
    root = content.image("amd64", [b"%d" % number for number in range(20)])
    push(user.registries, root, content, references(registry, "app:v1"), parallel=3)
    assert max(most) <= 3
    assert everything_is_there(registry, "app", content)


class Interruption(BaseException):
    pass


def test_an_interruption_ends_what_waits(registry: MemoryRegistry) -> None:
    waiting = threading.Semaphore(0)
    release = threading.Event()

    def stall(handler: Handler) -> bool:
        waiting.release()
        release.wait(10)
        handler.reset()
        return True

    registry.fail("PUT", "/blobs/", stall, times=100)
    content = Content()
    root = content.image("amd64", [b"one", b"two"])
    with client(Access(silence=30.0)) as user:

        def raise_it(*_: object) -> None:
            raise Interruption

        old = signal.signal(signal.SIGUSR1, raise_it)
        try:
            main = threading.get_ident()

            def send() -> None:
                for _ in range(3):  # all threads of the push are at it
                    waiting.acquire(timeout=20)
                signal.pthread_kill(main, signal.SIGUSR1)

            threading.Thread(target=send, daemon=True).start()
            with pytest.raises(Interruption):
                push(user.registries, root, content, references(registry, "app:v1"))
        finally:
            signal.signal(signal.SIGUSR1, old)
        left = [one for one in threading.enumerate() if one.name.startswith("registry-")]
        assert left == []
        release.set()


def test_a_registry_that_is_gone(user: Client, content: Content, root: Descriptor) -> None:
    with MemoryRegistry().running() as registry:
        refs = references(registry, "app:v1")
    with pytest.raises(UnreachableError):
        push(user.registries, root, content, refs)


def test_a_refused_blob(user: Client, registry: MemoryRegistry, content: Content, root: Descriptor) -> None:
    registry.fail("POST", "/blobs/", status(403, {}, b'{"errors":[{"code":"DENIED"}]}'), times=100)
    with pytest.raises(RegistryError) as caught:
        push(user.registries, root, content, references(registry, "app:v1"))
    assert caught.value.extra["codes"] == ("DENIED",)
    assert registry.count_of("PUT") == 0


def test_the_crew_raises_the_first_error_and_runs_nothing_after_it() -> None:
    ran: list[int] = []
    stop, aborted = threading.Event(), threading.Event()

    def fail() -> None:
        raise SourceError("first")

    def later() -> None:
        ran.append(1)

    crew = Crew(1, stop, aborted.set)
    with pytest.raises(SourceError, match="first"):
        crew.run([later, fail, later, later])
    assert ran == [1]
    assert stop.is_set()


def test_the_crew_breaks_what_does_not_notice() -> None:
    stop, aborted = threading.Event(), threading.Event()
    began = threading.Event()

    def stuck() -> None:
        began.set()
        aborted.wait(30)

    def fail() -> None:
        began.wait(30)
        raise SourceError("first")

    with pytest.raises(SourceError):
        Crew(2, stop, aborted.set).run([stuck, fail])
    assert aborted.is_set()
