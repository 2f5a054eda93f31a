"""Base images without a Python that can be used, damaged ones, and what was learnt when it is read back."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild.errors import BaseImageError
from hostbuild.oci.platform import Platform
from hostbuild.wheels.base_python import BasePython, learn
from tests.wheels.elves import Made, elf
from tests.wheels.images import (
    AMD64,
    ARM,
    PATH,
    X86,
    Content,
    Data,
    Hard,
    Link,
    archive,
    layer,
    library,
    of,
    paths,
    python,
    refusal,
    system,
    upstream,
)

LOADER = "/lib64/ld-linux-x86-64.so.2"


def test_no_python() -> None:
    error = refusal(system())
    assert error.what == "the base image example has no Python for linux/amd64"
    assert error.why == f"looked for was python3, python and python3.N on its PATH, {PATH}"
    assert "--base python:" in error.fix
    gone = {"usr/local/bin/.wh..wh..opq": Data(b"")}
    assert "has no Python" in refusal(system(), upstream(), gone).what


def test_another_machine() -> None:
    error = refusal(system(), upstream(), platform=Platform("linux", "arm64"))
    assert error.why == "/usr/local/bin/python3 cannot run there: it is for x86_64 (64 bits)"
    assert "linux/arm64" in error.fix
    soft = Made(bits=32, machine=ARM, flags=0x200, interpreter="/lib/ld-linux-armhf.so.3")
    error = refusal(
        system(ARM), {"usr/bin/python3.11": python("3.11.1", soft)}, platform=Platform("linux", "arm", "v7")
    )
    assert "soft-float" in error.why


SHIM = b"#!/usr/bin/env bash\nexec pyenv\n"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (SHIM, "is a script ('#!/usr/bin/env bash'), and what it starts cannot be told"),
        (b"", "is no program"),
        (b"\x7fELF\x02\x01", "is damaged: its header is damaged"),
        (python("3.11.1")[:400], "is damaged: it ends too early"),
        (elf(Made(machine=X86, interpreter=LOADER, needed=("libpypy3.10-c.so",))), "is PyPy"),
        (elf(Made(machine=X86, kind=1)), "is no program"),
        (python("3.11.1", Made(machine=X86)), "is linked statically"),
        (python("3.11.1", Made(machine=X86, interpreter="/lib/ld-other.so")), "'/lib/ld-other.so'"),
        (elf(Made(machine=X86, interpreter=LOADER, needed=("libpython3.11.so.1.0",))), "not in the image"),
        (python("3.12.1"), "expected is one of 3.11, and in it is 3.2.0, 3.12.1"),
        (python("3.11.1\0x\x003.11.2"), "expected is one of 3.11, and in it is 3.11.1, 3.11.2"),
        (elf(Made(machine=X86, interpreter=LOADER)), "in it is none"),
        (python("3.11.1"), "its standard library".replace("its", "the")),
    ],
)
def test_what_is_no_sound_cpython(content: bytes, why: str) -> None:
    own: dict[str, Content] = {"usr/bin/python3": Link("python3.11"), "usr/bin/python3.11": content}
    error = refusal(system(), own)
    assert error.what == "the Python in the base image example cannot be used for linux/amd64"
    assert error.why.startswith("/usr/bin/python3 (/usr/bin/python3.11)") or "/usr/bin/python3" in error.why
    assert why in error.why


def test_pypy_and_names_of_two_versions() -> None:
    pypy = elf(Made(machine=X86, interpreter=LOADER))
    assert "is PyPy" in refusal(system(), {"usr/bin/python3": Link("/opt/pypy"), "opt/pypy": pypy}).why
    mixed = elf(Made(machine=X86, interpreter=LOADER, needed=("libpython3.12.so.1.0",)))
    lib = python("3.12.1", Made(machine=X86, soname="libpython3.12.so.1.0"))
    error = refusal(system(), {"usr/bin/python3.11": mixed, "usr/local/lib/libpython3.12.so.1.0": lib})
    assert error.why == "/usr/bin/python3.11 has names of two versions, 3.11 and 3.12"


def test_damaged_libraries_are_no_libraries() -> None:
    extra: dict[str, Content] = {
        "usr/lib/libbad.so": elf(Made(machine=X86, soname="x"))[:200],
        "usr/lib/libtext.so": Data(b"/* GNU ld script */ INPUT(libz.so.1)"),
        "usr/lib/object.so": elf(Made(machine=X86, kind=1)),
        "usr/lib/libgone.so": Link("nowhere"),
        "usr/lib/libi386.so.1": elf(Made(bits=32, machine=3, soname="libi386.so.1")),
    }
    base = of(system(), upstream(), extra)
    assert [each.path for each in base.libraries if each.machine == "i386"] == ["/lib/libi386.so.1"]
    assert not [
        path for path in paths(base) if "bad" in path or "text" in path or "gone" in path or "object" in path
    ]


def test_what_cannot_be_read() -> None:
    with pytest.raises(BaseImageError) as caught:
        learn([lambda: layer({"a": None})()], path=PATH, platform=AMD64, label="example")
    assert "has no Python" in caught.value.what
    error = refusal({"a": Hard("none")})
    assert error.what == "the base image example cannot be read for linux/amd64"
    assert "'none'" in error.why


def test_names_that_are_no_text() -> None:
    odd = "usr/lib/lib\udcff.so.1"
    base = of(system(), upstream(), {odd: library("libodd.so.1")})
    assert "libodd.so.1" not in {each.soname for each in base.libraries}
    json.dumps(base.to_json(), ensure_ascii=False).encode()
    home = "opt/\udcff"
    own: dict[str, Content] = {
        f"{home}/python3.11": python("3.11.1"),
        f"{home}/lib/python3.11/os.py": Data(b""),
    }
    own["usr/bin/python3"] = Link(f"/{home}/python3.11")
    assert "has a name that is no text" in refusal(system(), own).why


WHOLE = archive({**system(), **upstream()})


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damage_is_one_kind_of_error(data: st.DataObject) -> None:
    damaged = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(0, 8))):
        damaged[data.draw(st.integers(0, len(WHOLE) - 1))] = data.draw(st.integers(0, 255))
    cut = (
        bytes(damaged[: data.draw(st.integers(0, len(WHOLE)))])
        if data.draw(st.booleans())
        else bytes(damaged)
    )
    with suppress(BaseImageError):
        base = learn([lambda: io.BytesIO(cut)], path=PATH, platform=AMD64, label="example")
        assert BasePython.from_json(base.to_json()) == base


def change(document: dict[str, Any], name: str, value: object) -> dict[str, Any]:
    return {**document, name: value}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("python", 3),
        ("search", [1]),
        ("search", 1),
        ("libraries", [["/a", "x86_64", "64", "", []]]),
        ("libraries", [["/a", "x86_64", 64, "", [1]]]),
        ("libraries", [["/a", "x86_64", 64, ""]]),
        ("libraries", [["/a", "x86_64", 64, "", "GLIBC"]]),
        ("libraries", ["abcde"]),
        ("is_threaded", 2),
        ("is_threaded", []),
        ("more", 1),
    ],
)
def test_only_what_was_written_is_read(name: str, value: object) -> None:
    document = json.loads(json.dumps(of(system(), upstream()).to_json()))
    assert BasePython.from_json(document) == of(system(), upstream())
    with pytest.raises(ValueError, match="not what was learnt"):
        BasePython.from_json(change(document, name, value))
    del document["python"]
    with pytest.raises(ValueError, match="not what was learnt"):
        BasePython.from_json(document)
