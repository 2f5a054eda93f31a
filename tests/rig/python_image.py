"""The image of a Python project over the base with Python: its files, its root file system, its command.

image = image_over(base, layout, "linux/arm64")            # only what hostbuild put over the base
with unpacked(base, layout, image, tmp_path) as root:      # a root file system, emulated where need be
    code, output = run_python(image, root, "-c", "import flask")
    with answering(image, root, tmp_path / "log") as service:
        service.request()
"""

from __future__ import annotations

import base64
import csv
import email.parser
import fcntl
import hashlib
import io
import json
import os
import posixpath
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.rig.builder import Hostbuild, make_source
from tests.rig.layout import (
    CONFIG,
    INDEX,
    MANIFEST,
    Image,
    Member,
    blob_path,
    platform_text,
    read_document,
    read_layer,
)
from tests.rig.namespaces import entering, run_inside
from tests.rig.oci_tools import run as run_tool
from tests.rig.python_base import PythonBase, python_base
from tests.rig.run_image import NATIVE, Service, free_port, serving

SITE = "opt/python/site-packages"
BIN = "opt/python/bin"
PREFIX = "opt/python"

#: A directory that each base has empty.
_BOUND = "/mnt"

#: Prints, as JSON, what importlib.metadata sees and what can be imported: all that any distribution brings,
#: and the names given as arguments. The first argument is where pip lies, which then has its say, or "".
_INVENTORY = """
import importlib, importlib.metadata, json, sys
pip, *modules = sys.argv[1:]
distributions, absent, names = {}, [], set()
for each in importlib.metadata.distributions():
    distributions[each.metadata["Name"]] = each.version
    for file in each.files or []:
        if not file.locate().exists():
            absent.append(str(file))
        elif file.suffix in (".py", ".so"):
            names.add(file.parts[0].partition(".")[0])
failed = {}
for name in sorted(filter(str.isidentifier, names)) + modules:
    try:
        importlib.import_module(name)
    except Exception as error:
        failed[name] = repr(error)
if pip:
    sys.path.insert(0, pip)
    from pip._internal.cli.main import main
    if main(["check"]):
        sys.exit("pip check found something")
print(json.dumps({"distributions": distributions, "absent": absent, "failed": failed}))
"""


def image_over(base: PythonBase, layout: Path, platform: str) -> Image:
    """One platform's image, its `layers` and `files` being those over the base's, every byte verified.

    The base's layers must be the lowest, as they are in the base.
    """
    descriptor, manifest = _manifest(layout, platform)
    _, below = _manifest(base.layout, platform)
    count = len(below["layers"])
    assert _digests(manifest)[:count] == _digests(below), "the base's layers are not the lowest"
    config = read_document(layout, manifest["config"], CONFIG)
    diff_ids = config["rootfs"]["diff_ids"]
    assert len(diff_ids) == len(manifest["layers"])
    above = tuple(
        read_layer(layout, layer, diff_id)
        for layer, diff_id in zip(manifest["layers"][count:], diff_ids[count:], strict=True)
    )
    return Image(platform, descriptor, manifest, config, above)


def layers_over(base: PythonBase, layout: Path, platform: str) -> list[str]:
    """The digests of the layers over the base's, lowest first."""
    count = len(_digests(_manifest(base.layout, platform)[1]))
    return _digests(_manifest(layout, platform)[1])[count:]


def _manifest(layout: Path, platform: str) -> tuple[dict[str, Any], dict[str, Any]]:
    (named,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    index = read_document(layout, named, INDEX)
    (found,) = [each for each in index["manifests"] if platform_text(each["platform"]) == platform]
    return found, read_document(layout, found, MANIFEST)


def _digests(manifest: Mapping[str, Any]) -> list[str]:
    return [layer["digest"] for layer in manifest["layers"]]


@contextmanager
def unpacked(base: PythonBase, layout: Path, image: Image, directory: Path) -> Iterator[Path]:
    """The image's root file system below `directory`, unpacked by tar; removed at the end."""
    with tempfile.TemporaryDirectory(dir=directory, prefix="root-") as home:
        root = base.copy_root(image.platform, Path(home, "root"))
        for digest in _digests(image.manifest)[-len(image.layers) :]:
            archive = blob_path(layout, digest)
            run_tool("tar", "--extract", "--preserve-permissions", f"--file={archive}", f"--directory={root}")
        root.chmod(0o755)
        if image.config["architecture"] != NATIVE and not any(path.endswith(".pyc") for path in image.files):
            compile_natively(root / PREFIX)
        yield root


def compile_natively(directory: Path) -> None:
    """Give Python's files there bytecode, natively: emulated, it would be most of what is done with them.

    It depends on the source and on Python's version only, and an image that has none is no less right.
    """
    native = python_base().root(f"linux/{NATIVE}")
    options = ("-qq", "--invalidation-mode", "unchecked-hash", "-x", "/tests?/")
    argv = ("/usr/bin/python3", "-m", "compileall", *options, _BOUND)
    run_inside(native, NATIVE, argv, env={}, binds={str(directory): _BOUND})


def run_python(
    image: Image, root: Path, *arguments: str, binds: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run the base's Python as the image's user, in the image's environment: its exit code and output."""
    user = int(image.config["config"]["User"].partition(":")[0])
    architecture, argv = image.config["architecture"], ("/usr/bin/python3", *arguments)
    return run_inside(root, architecture, argv, env=_environment(image), user=user, binds=binds)


def _environment(image: Image) -> dict[str, str]:
    """The image's, and what container runtimes add for a user that /etc/passwd does not have."""
    return {"HOME": "/", **image.env}


def inventory(
    image: Image, root: Path, *modules: str, but: tuple[str, ...] = (), pip: Path | None = None
) -> dict[str, str]:
    """Each distribution and its version, as importlib.metadata sees them in there.

    Every file that is recorded must be there, and all that they bring but what `but` names, and `modules`,
    must be importable. The pip that lies in the directory `pip` must find no conflict, and nothing that is
    for another machine.
    """
    binds = {} if pip is None else {str(pip): _BOUND}
    code, output = run_python(image, root, "-c", _INVENTORY, _BOUND if binds else "", *modules, binds=binds)
    assert code == 0, output
    assert pip is None or "No broken requirements found." in output, output
    found = json.loads(output.splitlines()[-1])
    assert found["absent"] == [], f"recorded, and not there: {found['absent']}"
    failed = {name: error for name, error in found["failed"].items() if name not in but}
    assert failed == {}, f"not importable: {failed}"
    return {canonical(name): version for name, version in found["distributions"].items()}


@contextmanager
def answering(image: Image, root: Path, log: Path, env: Mapping[str, str] | None = None) -> Iterator[Service]:
    """Start the image as its config says, but for the number of the port that is 8080 there."""
    config, port = image.config["config"], free_port()
    environment = {**_environment(image), **(env or {})}
    for name in ("PORT", "LISTEN_ADDRESS"):
        if name in environment:
            assert environment[name].endswith("8080"), image.env
            environment[name] = environment[name].replace("8080", str(port))
    user, group = map(int, config["User"].split(":"))
    argv = entering(
        root,
        image.config["architecture"],
        [*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])],
        env=environment,
        user=user,
        group=group,
        cwd=config["WorkingDir"],
    )
    with serving(argv, port, log, image.platform) as service:
        yield service


def canonical(name: str) -> str:
    """A project's name as it is compared (packaging.python.org, "Names and normalization")."""
    return re.sub(r"[-_.]+", "-", name).lower()


def versions(files: Mapping[str, bytes]) -> dict[str, str]:
    """Names and versions of the distributions among `files`, whose paths are relative to site-packages."""
    found = {}
    for path, data in files.items():
        if re.fullmatch(r"[^/]+\.dist-info/METADATA", path):
            headers = email.parser.BytesParser().parsebytes(data, headersonly=True)
            name = canonical(headers["Name"])
            assert name not in found, f"{name} is there twice"
            found[name] = headers["Version"]
    return found


def check_records(image: Image) -> None:
    """Each file of the prefix is in one RECORD, with its digest and size, and nothing else is recorded."""
    files = {path: each for path, each in image.files.items() if each.kind != "dir"}
    installed = {path for path in files if path.startswith((f"{SITE}/", f"{BIN}/", f"{PREFIX}/share/"))}
    recorded = set()
    for path in sorted(files):
        if re.fullmatch(rf"{SITE}/[^/]+\.dist-info/RECORD", path):
            for name, digest, size in csv.reader(io.StringIO(files[path].data.decode())):
                target = posixpath.normpath(f"{SITE}/{name}")
                assert target in files, f"{path} has {name}, which is not there"
                recorded.add(target)
                _check_row(files[target], digest, size, is_record=target == path)
    assert installed - recorded == set(), "in no RECORD"


def _check_row(member: Member, digest: str, size: str, *, is_record: bool) -> None:
    if is_record:
        assert (digest, size) == ("", "")
        return
    wanted = base64.urlsafe_b64encode(hashlib.sha256(member.data).digest()).decode().rstrip("=")
    assert (digest, size) == (f"sha256={wanted}", str(len(member.data))), member.path


# What is made once for a whole run of the tests, whoever of its workers is first.


def run_directory(factory: pytest.TempPathFactory) -> Path:
    """A directory of this run of the tests, the same one in all its workers."""
    own = factory.getbasetemp()
    return own.parent if os.environ.get("PYTEST_XDIST_WORKER") else own


def once(destination: Path, make: Callable[[Path], None]) -> Path:
    """Have `make` fill a new directory, under a lock, unless that was done; half a directory is none."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    with destination.with_name(f"{destination.name}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = destination.with_name(f"{destination.name}.done")
        if not done.exists():
            if destination.exists():
                shutil.rmtree(destination)
            destination.mkdir()
            make(destination)
            done.touch()
    return destination


def shared_hostbuild(factory: pytest.TempPathFactory) -> Hostbuild:
    """The command with one cache for the whole run: what one test resolved and fetched, others have."""
    home = run_directory(factory) / "python-home"
    home.mkdir(exist_ok=True)
    return Hostbuild(home)


def built(
    factory: pytest.TempPathFactory,
    name: str,
    files: Mapping[str, str | bytes],
    *arguments: str,
    env: Mapping[str, str | None] | None = None,
) -> Path:
    """The layout of a source with the base, built once for the whole run."""

    def build(directory: Path) -> None:
        root = make_source(directory / "src", files)
        result = shared_hostbuild(factory)("build", root, *arguments, env=env)
        (directory / "digest").write_text(result.digest)
        (directory / "stderr").write_text(result.stderr)

    made = once(run_directory(factory) / f"built-{name}", build)
    return made / "src/.func/builds/last/oci"
