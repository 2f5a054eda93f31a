"""Wheels of what there is only as source: archives and directories, each built once and kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hostbuild.languages.python.values import Archive
from hostbuild.model import Event

if TYPE_CHECKING:
    from hostbuild.languages.base import Workshop
    from hostbuild.languages.python.inputs import Inputs
    from hostbuild.languages.python.values import LocalBuild
    from hostbuild.model import Pairs

#: Changes whenever the same source would give another wheel.
RECIPE = 1

_OF_ARCHIVE = "the wheel of a source archive"
_OF_DIRECTORY = "the wheel of a directory"


class SourceWheels:
    """Builds for one project: `inputs` and `credentials` give its settings and logins when asked."""

    def __init__(
        self,
        environment: Mapping[str, str],
        workshop: Workshop,
        digest_file: Callable[[str], str],
        *,
        inputs: Callable[[], Inputs],
        credentials: Callable[[], Pairs],
    ) -> None:
        self._environment = environment
        self._workshop = workshop
        self._digest_file = digest_file
        self._inputs = inputs
        self._credentials = credentials

    def archive_inputs(self, sdist: Archive) -> dict[str, Any]:
        """What decides the wheel of a source archive: JSON values."""
        return {
            "sha256": sdist.sha256,
            "name": sdist.name,
            "version": sdist.version,
            **self._build_inputs(sdist.name),
        }

    def has_archive(self, inputs: Mapping[str, Any]) -> bool:
        """Whether the wheel of the archive with these inputs is kept."""
        return self._workshop.recall(_OF_ARCHIVE, inputs) is not None

    def of_archive(self, sdist: Archive, inputs: Mapping[str, Any]) -> Archive:
        """The wheel of a source archive, which is fetched for it. Raises DependenciesError where it is none
        for every machine, and the errors of indexes.
        """
        workshop = self._workshop
        if not self.has_archive(inputs):
            workshop.fetch([sdist.source()], self._credentials())

        def build(work: str) -> str:
            from hostbuild.languages.python.building import build_wheel

            workshop.emit(Event("info", f"building a wheel of {sdist.filename}"))
            source = os.path.join(work, sdist.filename)
            os.symlink(workshop.path(f"sha256:{sdist.sha256}"), source)
            return build_wheel(
                source,
                name=sdist.name,
                version=sdist.version,
                environment=self._environment,
                work=work,
                run=workshop.run,
                offline=workshop.offline,
                inputs=self._inputs(),
            )

        kept = self._keep(_OF_ARCHIVE, inputs, build)
        return self._wheel(sdist.name, sdist.version, kept)

    def of_directory(self, local: LocalBuild) -> tuple[Archive, tuple[tuple[str, str], ...]]:
        """The wheel of a directory, and the files that it was made of: relative paths, and SHA-256.

        Raises as `of_archive` does.
        """
        from hostbuild.languages.python.building import build_wheel, source_files

        read = source_files(local.path, self._digest_file)
        inputs = {
            "name": local.name,
            "subdirectory": local.subdirectory,
            "files": [list(each) for each in read],
            **self._build_inputs(local.name),
        }

        def build(work: str) -> str:
            self._workshop.emit(Event("info", f"building the wheel of {local.name}"))
            return build_wheel(
                local.path,
                name=local.name,
                environment=self._environment,
                work=work,
                run=self._workshop.run,
                offline=self._workshop.offline,
                subdirectory=local.subdirectory,
                files=read,
                inputs=self._inputs(),
            )

        kept = self._keep(_OF_DIRECTORY, inputs, build)
        return self._wheel(local.name, str(kept["name"]).split("-")[1], kept), read

    def _build_inputs(self, name: str) -> dict[str, Any]:
        """What decides a wheel that is built, beside its source."""
        from hostbuild.languages.python import building

        return {
            "recipe": [RECIPE, building.RECIPE],
            "variables": building.build_variables(name, self._environment),
        }

    def _keep(self, kind: str, inputs: Mapping[str, Any], build: Callable[[str], str]) -> dict[str, Any]:
        """What is kept; a scratch directory is made only where something is to be built."""
        kept = self._workshop.recall(kind, inputs)
        if kept is not None:
            return kept
        with self._workshop.scratch() as work:
            return self._workshop.keep(kind, inputs, lambda: build(work))

    def _wheel(self, name: str, version: str, kept: Mapping[str, Any]) -> Archive:
        digest = str(kept["digest"])
        path = self._workshop.path(digest)
        return Archive(name, version, kept["name"], "", path, digest.partition(":")[2], kept["size"])
