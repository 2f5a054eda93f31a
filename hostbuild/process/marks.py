"""The marks in the environment of every process that a build starts.

A SIGKILL of hostbuild's whole process group leaves tools, which have groups of their own. Only a mark in
their environment tells later whose they were.
"""

from __future__ import annotations

from collections.abc import Mapping

from hostbuild.records import record

BUILD_ID = "HOSTBUILD_BUILD_ID"
OWNER = "HOSTBUILD_OWNER"
RUN = "HOSTBUILD_RUN"
BUILDER = "HOSTBUILD_BUILDER"


@record
class Marks:
    """`build_id`: what is being built. `owner`: the staging directory, whose lock tells whether the builder
    lives. `run`: one executor's random word. `builder`: the process that started it, as
    `liveness.builder_mark` writes it. An empty one is not set.
    """

    build_id: str = ""
    owner: str = ""
    run: str = ""
    builder: str = ""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Marks:
        """The marks that a process with this environment carries."""
        return cls(*(environment.get(name, "") for name in (BUILD_ID, OWNER, RUN, BUILDER)))

    def environment(self) -> dict[str, str]:
        """The variables to add to a process's environment."""
        pairs = ((BUILD_ID, self.build_id), (OWNER, self.owner), (RUN, self.run), (BUILDER, self.builder))
        return {name: value for name, value in pairs if value}

    def carried_by(self, environment: Mapping[str, str]) -> bool:
        """Whether `environment` has all the marks that are set here; False where none is set."""
        wanted = self.environment()
        return bool(wanted) and all(environment.get(name) == value for name, value in wanted.items())
