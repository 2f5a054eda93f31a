"""One repository on one host: paths and scopes of what is asked there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from hostbuild.registry.session import RegistrySession


class Place(NamedTuple):
    """A repository as one host serves it: the registry itself, or a mirror of it.

    `name` is what messages call it. A mirror is asked once, without patience: the registry is there as well.
    """

    session: RegistrySession
    repository: str
    name: str
    mirror: bool = False

    def path(self, rest: str) -> str:
        """`/v2/<repository>/<rest>`."""
        return f"/v2/{self.repository}/{rest}"

    @property
    def pull_scopes(self) -> tuple[str, ...]:
        """What a token for reading must allow."""
        return (pull_scope(self.repository),)

    @property
    def push_scopes(self) -> tuple[str, ...]:
        """What a token for writing must allow; good for reading as well, so that one push needs one token."""
        return (f"repository:{self.repository}:push,pull",)


def pull_scope(repository: str) -> str:
    """The scope of reading a repository (distribution's token authentication, "Scope")."""
    return f"repository:{repository}:pull"
