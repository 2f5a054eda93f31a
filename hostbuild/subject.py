"""What a build is of: all that is known of it before anything is made."""

from __future__ import annotations

import json
from collections.abc import Mapping

from hostbuild.bases import Base
from hostbuild.languages.base import Inspection, Language
from hostbuild.model import BuildRequest, Pairs
from hostbuild.oci.annotations import Annotations
from hostbuild.oci.platform import Platform
from hostbuild.oci.reference import Reference
from hostbuild.plan import BuildPlan, key_of
from hostbuild.records import record
from hostbuild.shipping import SharedLayer, Shipment


@record
class BuildSubject:
    """All that is known of a build before anything is made.

    `files` maps each file that the build reads to what it is (a digest, or a link's target), by labels
    that are the same on every machine; it costs something for each of them. `env` and
    `labels` are hostbuild's own, before the user's.
    """

    request: BuildRequest
    root: str
    references: tuple[Reference, ...]
    platforms: tuple[Platform, ...]
    base: Base
    annotations: Annotations
    language: Language
    inspection: Inspection
    created: str
    env: Pairs
    labels: Pairs
    shipment: Shipment
    plan: BuildPlan
    warnings: tuple[str, ...]

    @property
    def shared(self) -> tuple[SharedLayer, ...]:
        """The layers of what ships."""
        return self.shipment.layers

    @property
    def files(self) -> Mapping[str, str]:
        """Each file that the build reads, and what it is; found when it is asked for."""
        return {**{each.label: each.digest for each in self.inspection.inputs}, **self.shipment.files}

    def reads_as(self, other: BuildSubject) -> bool:
        """Whether `files` are those of `other`, told by the keys of what is made of them."""
        return self.inspection.inputs == other.inspection.inputs and [
            layer.plan for layer in self.shared
        ] == [layer.plan for layer in other.shared]

    @property
    def push_targets(self) -> tuple[Reference, ...]:
        """The references that the result is to be pushed to, in order, each once."""
        pushed = [output for output in self.request.outputs if output.push]
        named = [Reference.parse(name) for output in pushed for name in output.names]
        tagged = self.references if any(not output.names for output in pushed) else ()
        return tuple(dict.fromkeys((*tagged, *named)))

    @property
    def may_stay_sparse(self) -> bool:
        """Whether the base's layers need not come here: all that is wanted is a push to where they are."""
        targets = self.push_targets
        return bool(
            targets
            and self.base.in_registry
            and not self.request.access.offline
            and all(output.push for output in self.request.outputs)
            and {target.registry for target in targets} == {self.base.source.reference.registry}
        )

    @property
    def sparse_id(self) -> str:
        """The build ID of the same build without the base's layers."""
        return key_of("sparse build", build=self.plan.build_id)

    @property
    def facts(self) -> dict[str, str]:
        """All that the build depends on, by names that people know: the reason for another one."""
        language = self.inspection.language
        recipe = {f"{language} {name}": json.dumps(value) for name, value in self.inspection.recipe.items()}
        return {**self.plan.inputs, **recipe, **self.files}
