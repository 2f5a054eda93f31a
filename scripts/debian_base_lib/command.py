"""The command line of scripts/debian_base: arguments in, a layout out."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from debian_base_lib.apt import Package, fetch_all, read_archive
from debian_base_lib.images import Contents, python_version, write_base
from debian_base_lib.sources import Source, find_source
from hostbuild.cli.failures import Failure, say
from hostbuild.errors import HostbuildError, InvalidPlatformError, StoreError
from hostbuild.model import Access, Event
from hostbuild.oci.platform import parse_platforms
from hostbuild.oci.reference import Reference
from hostbuild.store.publish import is_replaceable

ARCHITECTURES = {"linux/amd64": "amd64", "linux/arm64": "arm64", "linux/arm/v7": "armhf"}
PACKAGES = (
    "base-files",
    "base-passwd",
    "ca-certificates",
    "dash",
    "libc-bin",
    "libpython3-stdlib",
    "libstdc++6",
    "netbase",
    "python3-minimal",
)
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def main(argv: Sequence[str], description: str) -> int:
    """Do what the arguments say; the exit code. What went wrong is said on standard error."""
    arguments = _parser(description).parse_args(argv)
    try:
        _make(arguments)
    except HostbuildError as error:
        say(Failure.of(error), as_json=False)
        return error.exit_code
    return 0


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="debian_base", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "output", type=Path, help="the layout's directory; a layout that is there is replaced"
    )
    parser.add_argument(
        "--platform",
        action="append",
        default=[],
        help=f"of {', '.join(ARCHITECTURES)}; all of them by default",
    )
    parser.add_argument("--suite", default="bookworm", help="Debian's release (default: bookworm)")
    parser.add_argument("--package", action="append", default=[], help="one package more; may be repeated")
    parser.add_argument("--mirror", default="", help="the archive's URL, where apt's own sources have none")
    parser.add_argument("--keyring", default=KEYRING, help="the keys that sign the mirror's releases")
    parser.add_argument("--name", default="", help="the reference that the layout has inside")
    parser.add_argument(
        "--push", action="append", default=[], metavar="REFERENCE", help="push it there as well"
    )
    parser.add_argument("--insecure", action="store_true", help="push without TLS, or with any certificate")
    return parser


def _make(arguments: argparse.Namespace) -> None:
    architectures = _architectures(arguments.platform)
    suite: str = arguments.suite
    if arguments.mirror:
        source = Source(arguments.mirror, suite, f" {os.path.abspath(arguments.keyring)}")
    else:
        source = find_source(suite)
    if os.path.lexists(arguments.output) and (why := is_replaceable(str(arguments.output))):
        raise StoreError(f"would replace {str(arguments.output)!r}", why=why, fix="name another directory")
    names = sorted({*PACKAGES, *arguments.package})
    with tempfile.TemporaryDirectory(prefix="debian-base.") as scratch:
        fetched = fetch_all(architectures, names, source, Path(scratch), os.environ, _tell)
        reference = _reference(arguments.name, next(iter(fetched.values())), suite)
        base = write_base(arguments.output, _contents(fetched), suite, reference)
    for platform, made in base.images.items():
        sizes = f"{made.files / 1e6:.1f} MB of files, {made.blobs / 1e6:.1f} MB of blobs"
        _tell(f"{platform}: Python {made.python}, {sizes}, {made.manifest.digest}")
    if arguments.push:
        from hostbuild.pushing import push_place

        access = Access(environment=dict(os.environ), verify=not arguments.insecure)
        push_place(f"{arguments.output}@{base.digest}", arguments.push, access, on_event=_tell_event)
    sys.stdout.write(f"{reference.familiar_name}@{base.digest}\n")


def _architectures(texts: Sequence[str]) -> Mapping[str, str]:
    wanted = [str(platform) for platform in parse_platforms(texts)] if texts else list(ARCHITECTURES)
    for platform in wanted:
        if platform not in ARCHITECTURES:
            raise InvalidPlatformError(
                f"no base is made for {platform}", why=f"it is none of {', '.join(ARCHITECTURES)}"
            )
    return {platform: ARCHITECTURES[platform] for platform in wanted}


def _reference(name: str, packages: Sequence[Package], suite: str) -> Reference:
    python = python_version({package.name: package.version for package in packages})
    return Reference.parse_tagged(name or f"registry.example/python:{python}-{suite}")


def _contents(fetched: Mapping[str, Sequence[Package]]) -> Iterator[tuple[str, Contents]]:
    """One platform after the other, so that only one's files are in memory."""
    for platform, packages in fetched.items():
        _tell(f"{platform}: writing the layers")
        versions = {package.name: package.version for package in packages}
        archives = {package.name: read_archive(package, os.environ) for package in packages}
        yield platform, Contents(versions, archives)


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _tell_event(event: Event) -> None:
    if event.kind in {"info", "warning", "waiting"}:
        _tell(event.message)
