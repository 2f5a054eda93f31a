"""What is learnt of a base image's Python: out of Debian's own, and of images made by hand for the rest."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import BinaryIO

import pytest

from hostbuild.oci.platform import Platform
from hostbuild.wheels import image_files
from hostbuild.wheels.base_python import BasePython, learn
from tests.rig.layout import blob_path
from tests.rig.python_base import PLATFORMS, python_base
from tests.wheels.elves import Made, elf
from tests.wheels.images import (
    AMD64,
    ARM,
    ARM64,
    GLIBC,
    HARD_FLOAT,
    PATH,
    X86,
    Content,
    Data,
    Hard,
    Link,
    glibc,
    library,
    of,
    paths,
    python,
    refusal,
    system,
    upstream,
)

LOADER = "/lib64/ld-linux-x86-64.so.2"


TRIPLETS = {
    "linux/amd64": ("x86_64-linux-gnu", "x86_64", 64, "ld-linux-x86-64.so.2"),
    "linux/arm64": ("aarch64-linux-gnu", "aarch64", 64, "ld-linux-aarch64.so.1"),
    "linux/arm/v7": ("arm-linux-gnueabihf", "arm", 32, "ld-linux-armhf.so.3"),
}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_debian(platform: str) -> None:
    base = python_base()
    image = base.image(platform)
    environment = dict(text.split("=", 1) for text in image.config["config"]["Env"])
    opened: list[str] = []

    def opener(digest: str) -> Callable[[], BinaryIO]:
        def opened_now() -> BinaryIO:
            opened.append(digest)
            return blob_path(base.layout, digest).open("rb")

        return opened_now

    digests = [each["digest"] for each in image.manifest["layers"]]
    learnt = learn(
        [opener(digest) for digest in digests],
        path=environment["PATH"],
        platform=Platform.parse(platform),
        label="debian",
    )
    triplet, machine, bits, loader = TRIPLETS[platform]
    assert opened == digests  # each once
    assert learnt._replace(libraries=(), search=()) == BasePython(
        environment["PYTHON_VERSION"],
        *("glibc", "2.36", "/usr/bin/python3", "/usr/lib/python3/dist-packages", "/bin/sh", (), ()),
    )
    assert {f"/lib/{triplet}", "/usr/local/lib"} & set(learnt.search) >= {f"/lib/{triplet}"}
    assert learnt.search[-1] == "/lib"
    assert {(each.machine, each.bits) for each in learnt.libraries} == {(machine, bits)}
    named = {each.path: each for each in learnt.libraries}
    assert named[f"/lib/{triplet}/libz.so.1"].soname == "libz.so.1"
    assert named[f"/lib/{triplet}/libz.so.1"].defines == named[f"/lib/{triplet}/libz.so.1.2.13"].defines
    assert "GLIBC_2.36" in named[f"/lib/{triplet}/libc.so.6"].defines
    assert f"/lib/{triplet}/{loader}" in named
    assert not [path for path in named if "cpython" in path]
    assert BasePython.from_json(json.loads(json.dumps(learnt.to_json()))) == learnt
    # What is on disk says the same.
    root = base.root(platform)
    assert (root / "usr/lib/python3.11/os.py").exists()
    code, output = base.run(platform, "/usr/bin/python3", "-c", "import sys, platform as p\n" + ASKED)
    assert (code, output.split()) == (0, [learnt.python, learnt.libc, learnt.libc_version, "True"])


ASKED = """
import site
print(p.python_version(), *p.libc_ver(), '/usr/lib/python3/dist-packages' in site.getsitepackages())
"""


def test_upstream_of_a_shared_libpython() -> None:
    base = of(system(), upstream())
    assert base._replace(libraries=()) == BasePython(
        python="3.13.5",
        libc="glibc",
        libc_version="2.36",
        interpreter="/usr/local/bin/python3",
        site="/usr/local/lib/python3.13/site-packages",
        shell="/bin/sh",
        search=("/usr/local/lib", "/lib/x86_64-linux-gnu", "/lib64", "/lib"),
        libraries=(),
    )
    assert paths(base) == [
        "/usr/local/lib/libpython3.13.so.1.0",
        "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
        "/lib/x86_64-linux-gnu/libc.so.6",
        "/lib/x86_64-linux-gnu/libz.so.1",
        "/lib/x86_64-linux-gnu/libz.so.1.2.13",
        "/lib64/ld-linux-x86-64.so.2",
        "/lib/ld-linux-x86-64.so.2",
    ]
    target = base.target(AMD64)
    assert (target.interpreter, target.python_version) == ("/usr/local/bin/python3", (3, 13))
    assert "cp313-cp313-manylinux_2_36_x86_64" in {str(tag) for tag in target.tags()}


def test_a_relocatable_python_loads_what_lies_beside_it() -> None:
    started = Made(
        machine=X86,
        needed=("libpython3.12.so.1.0", "libc.so.6"),
        interpreter=LOADER,
        runpath="$ORIGIN/../lib",
        versions=GLIBC,
    )
    own: dict[str, Content] = {
        "opt/py/bin/python3": Link("python3.12"),
        "opt/py/bin/python3.12": elf(started),
        "opt/py/lib/libpython3.12.so.1.0": python(
            "3.12.11",
            Made(machine=X86, soname="libpython3.12.so.1.0", needed=("libx.so.1",), runpath="${ORIGIN}/x"),
            before=b"/opt/",  # the linker has put it at the end of another string
        ),
        "opt/py/lib/x/libx.so.1": library("libx.so.1"),
        "opt/py/lib/python3.12/os.py": Data(b""),
        "usr/local/bin/python3.12": Link("/opt/py/bin/python3"),
    }
    base = of(system(), own)
    assert (base.python, base.interpreter) == ("3.12.11", "/usr/local/bin/python3.12")
    assert base.site == "/opt/py/lib/python3.12/site-packages"
    assert paths(base)[-2:] == ["/opt/py/lib/libpython3.12.so.1.0", "/opt/py/lib/x/libx.so.1"]


@pytest.mark.parametrize("bin_dir", ["bin", ""])
def test_a_virtual_environment_comes_first(bin_dir: str) -> None:
    home = f"opt/venv/{bin_dir}".rstrip("/")
    venv: dict[str, Content] = {
        "opt/venv/pyvenv.cfg": Data(b"home = /usr/local/bin\n"),
        f"{home}/python3": Link("/usr/local/bin/python3"),
        f"{home}/python": Link("python3"),
        "venv": Link("opt/venv"),
    }
    base = of(system(), upstream(), venv, path=f"/venv/{bin_dir}:/usr/local/bin")
    assert base.interpreter == f"/venv/{bin_dir}/python3".replace("//", "/")
    assert base.site == "/opt/venv/lib/python3.13/site-packages"
    # A link to its interpreter from elsewhere is none: Python looks beside the name that it was started by.
    elsewhere = of(
        system(), upstream(), venv, {"usr/bin/python3": Link("/venv/python3")}, path="/usr/bin:/usr/local/bin"
    )
    assert elsewhere.site == "/usr/local/lib/python3.13/site-packages"


def musl(version: bytes = b"1.2.5", *, greeting: bytes = b"musl libc (x86_64)\n") -> dict[str, Content]:
    libc = elf(Made(machine=X86)) + greeting + b"Version %s\nelf/fd/" + version + b"\0"
    started = Made(machine=X86, needed=("libpython3.12.so.1.0",), interpreter="/lib/ld-musl-x86_64.so.1")
    return {
        "lib/ld-musl-x86_64.so.1": libc,
        "lib/libc.musl-x86_64.so.1": Link("ld-musl-x86_64.so.1"),
        "bin/busybox": b"\x7fELF",
        "bin/sh": Link("/bin/busybox"),
        "usr/bin/python3": Link("python3.12"),
        "usr/bin/python3.12": elf(started),
        "usr/lib/libpython3.12.so.1.0": python("3.12.9", Made(machine=X86)),
        "usr/lib/python3.12/os.pyc": Data(b""),
    }


def test_musl() -> None:
    base = of(musl())
    assert base._replace(libraries=()) == BasePython(
        *("3.12.9", "musl", "1.2.5", "/usr/bin/python3", "/usr/lib/python3.12/site-packages", "/bin/sh"),
        search=("/lib", "/usr/lib"),
        libraries=(),
    )
    assert "/lib/libc.musl-x86_64.so.1" in paths(base)
    assert "musllinux_1_2_x86_64" in base.target(AMD64).platforms()
    moved: dict[str, Content] = {
        "etc/ld-musl-x86_64.path": Data(b"/usr/lib\n/opt/lib:/lib\n"),
        "opt/lib/libx.so": library("libx.so"),
    }
    assert of(musl(), moved).search == ("/usr/lib", "/opt/lib", "/lib")
    assert "the libc of /usr/bin/python3 is not known" in refusal(musl(greeting=b"other")).why
    assert "the libc of" in refusal(musl(b"1.2.4\x001.2.5")).why


@pytest.mark.parametrize(
    ("made", "version"),
    [
        (glibc(), "2.36"),
        (glibc(defines="GLIBC_2.36", banner="2.37"), "2.37"),  # a release without symbols of its own
        (glibc(defines="GLIBC_2.38", banner="2.36"), "2.38"),
        (glibc(defines="GLIBC_ABI_DT_RELR", banner="3.1"), "2.2"),
        (library("libc.so.6", "GLIBC_2.9", "GLIBC_2.10", "GLIBC_PRIVATE"), "2.10"),
    ],
)
def test_the_version_of_glibc(made: bytes, version: str) -> None:
    assert of(system(), upstream(), {"usr/lib/x86_64-linux-gnu/libc.so.6": made}).libc_version == version


@pytest.mark.parametrize("version", ["3.14.0rc2", "3.14.0rc2+", "3.14.0a7", "3.14.10", "3.14.0b1"])
def test_versions(version: str) -> None:
    assert of(system(), upstream("3.14", version)).python == version.rstrip("+")


def test_a_free_threaded_python_is_told_by_the_name() -> None:
    base = of(system(), upstream("3.13t", "3.13.2"))
    assert (base.python, base.is_threaded, base.interpreter) == ("3.13.2", True, "/usr/local/bin/python3")
    assert base.site == "/usr/local/lib/python3.13t/site-packages"
    target = base.target(AMD64)
    assert target.interpreter == "/usr/local/bin/python3.13t"
    tags = {str(tag) for tag in target.tags()}
    assert "cp313-cp313t-linux_x86_64" in tags
    assert "cp313-cp313-linux_x86_64" not in tags
    named = {
        path: content
        for path, content in upstream("3.13t", "3.13.2").items()
        if not path.endswith(("/python", "/python3"))
    }
    assert of(system(), named).target(AMD64).interpreter == "/usr/local/bin/python3.13t"
    both = of(system(), named, upstream("3.13", "3.13.2"), {"usr/local/bin/.wh.python": Data(b"")})
    assert both.is_threaded is False


def test_which_python_path_finds() -> None:
    older = python("3.9.2")
    several: dict[str, Content] = {
        "usr/bin/python3": Link("python3.9"),
        "usr/bin/python3.9": older,
        "usr/lib/python3.9/os.py": Data(b""),
        "usr/local/sbin/python": Link("gone"),
        "usr/local/sbin/python3": Data(b"not executable"),
        "opt/two/python": Link("python2.7"),
        "opt/two/python2.7": python("2.7.18"),
    }
    assert of(system(), several, upstream()).python == "3.13.5"
    assert of(system(), several, upstream(), path="/usr/bin:/usr/local/bin").python == "3.9.2"
    assert of(system(), several, path=f"/opt/two:bin::{PATH}").interpreter == "/usr/bin/python3"
    # Without any link, the newest; and not one of another directory whose name sorts higher.
    numbered: dict[str, Content] = {
        path: content
        for minor, version in (("3.9", "3.9.1"), ("3.13", "3.13.1"), ("3.12", "3.12.1"))
        for path, content in upstream(minor, version).items()
        if not path.endswith(("/python", "/python3"))
    }
    base = of(system(), numbered, {"usr/bin/python3.14": python("3.14.0")})
    assert (base.interpreter, base.python) == ("/usr/local/bin/python3.13", "3.13.1")
    assert of(system(), upstream(), path="").interpreter == "/usr/local/bin/python3"


def test_a_python_without_a_number_in_its_name() -> None:
    own: dict[str, Content] = {"app/bin/python": python("3.11.9"), "app/lib/python3.11/os.py": Data(b"")}
    base = of(system(), own, path="/app/bin")
    assert (base.python, base.site) == ("3.11.9", "/app/lib/python3.11/site-packages")
    said = refusal(system(), {"app/bin/python": python("3.11.9")}, path="/app/bin").why
    assert said.endswith("expected is one of CPython 3, and in it is 3.2.0, 3.11.9")


def test_what_has_an_odd_name_is_searched_for_again() -> None:
    own: dict[str, Content] = {
        "app/bin/python3": Link("/app/engine"),
        "app/engine": python("3.11.9"),
        "app/lib/python3.11/os.py": Data(b""),
        "app/lib/python3.11/site.py": Hard("app/lib/python3.11/else"),
        "etc/ld.so.conf": Data(
            b"include more/*.cf\ninclude more/a.cf\n/opt/a # b\nhwcap 1 x\n/opt/b=libc6,/opt/c\n"
        ),
        "etc/more/a.cf": Data(b"/opt/d\ninclude /etc/ld.so.conf\n"),
        "etc/more/.b.cf": Data(b"/opt/e\n"),
        **{f"opt/{name}/libx.so": library("libx.so") for name in "abcde"},
    }
    own = {"app/lib/python3.11/else": Data(b"dist-packages"), **own}
    base = of(system(), own, path="/app/bin")
    assert (base.python, base.site) == ("3.11.9", "/app/lib/python3/dist-packages")
    assert base.search[:4] == ("/opt/d", "/opt/a", "/opt/b", "/opt/c")


@pytest.mark.parametrize(
    ("machine", "platform", "loader"),
    [
        (ARM64, Platform("linux", "arm64"), "/lib/ld-linux-aarch64.so.1"),
        (ARM, Platform("linux", "arm", "v7"), "/lib/ld-linux-armhf.so.3"),
    ],
)
def test_other_machines(machine: int, platform: Platform, loader: str) -> None:
    bits, flags = (32, HARD_FLOAT) if machine == ARM else (64, 0)
    made = Made(bits=bits, machine=machine, flags=flags, interpreter=loader, needed=("libc.so.6",))
    own: dict[str, Content] = {
        "usr/bin/python3.11": python("3.11.1", made),
        "usr/lib/python3.11/os.py": Data(b""),
    }
    base = of(system(machine), own, platform=platform)
    assert (base.python, base.libc_version) == ("3.11.1", "2.36")
    assert base.search[0] == "/usr/local/lib"
    assert any(path.endswith("/libz.so.1") for path in paths(base))


def test_no_shell() -> None:
    gone = {"usr/bin/.wh.sh": Data(b"")}
    assert of(system(), upstream(), gone).shell == ""
    assert of(system(), upstream(), {"usr/bin/sh": Data(b"#!")}).shell == ""


def test_large_files_are_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = of(system(), upstream())
    monkeypatch.setattr(image_files, "_WHOLE", 100)
    monkeypatch.setattr(image_files, "_PIECE", 33)
    assert of(system(), upstream()) == whole
    # Its tables lie in an order that asks for going back.
    far = elf(Made(machine=X86, soname="libfar.so.1", defines=("FAR_1",), gap=5 << 20))
    base = of(system(), upstream(), {"usr/lib/libfar.so.1": far})
    assert [each.defines for each in base.libraries if "far" in each.path] == [("FAR_1",)]
