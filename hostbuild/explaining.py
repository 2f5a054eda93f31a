"""What a build would make, and why; for --dry-run. Nothing is made, and no lock is taken."""

from __future__ import annotations

from typing import Any, NamedTuple

from hostbuild.project import BuildSubject
from hostbuild.record import reason_for
from hostbuild.store.builds import BuildDir
from hostbuild.store.cache import Cache


class LayerExplanation(NamedTuple):
    """One layer: `platform` "" for a shared one; `made` whether it would be made now."""

    name: str
    platform: str
    made: bool


class Explanation(NamedTuple):
    """What a build would do. `pushes` are references, `outputs` what `-o` names."""

    name: str
    build_id: str
    up_to_date: bool
    reason: str
    summary: str
    base: str
    layers: tuple[LayerExplanation, ...]
    outputs: tuple[str, ...]
    pushes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values; docs/cli.md describes them."""
        return {
            "name": self.name,
            "buildId": self.build_id,
            "upToDate": self.up_to_date,
            "reason": self.reason,
            "summary": self.summary,
            "base": self.base,
            "layers": [layer._asdict() for layer in self.layers],
            "outputs": list(self.outputs),
            "pushes": list(self.pushes),
        }

    def to_text(self) -> str:
        """Lines for people, with a line feed at the end of each."""
        state = "is up to date" if self.up_to_date else f"would be built: {self.reason}"
        lines = [f"{self.name} {state}", f"  {self.summary}", f"  base: {self.base}"]
        for layer in self.layers:
            where = f" for {layer.platform}" if layer.platform else ""
            lines.append(f"  {layer.name} layer{where}: {'would be made' if layer.made else 'cached'}")
        lines += [f"  would write {output}" for output in self.outputs]
        lines += [f"  would push {push}" for push in self.pushes]
        return "".join(f"{line}\n" for line in lines)


def explain_subject(
    subject: BuildSubject, builds: BuildDir, cache: Cache, *, up_to_date: bool
) -> Explanation:
    """The explanation of a build that was studied."""
    request = subject.request
    return Explanation(
        name=subject.references[0].familiar,
        build_id=subject.plan.build_id,
        up_to_date=up_to_date,
        reason="" if up_to_date else reason_for(subject, builds.last),
        summary=subject.inspection.summary,
        base=f"{subject.base} ({subject.base.how})" if subject.base.how else str(subject.base),
        layers=tuple(
            LayerExplanation(
                plan.name,
                plan.platform,
                made=request.no_cache or cache.recorded(plan.key, claim=False) is None,
            )
            for plan in subject.plan.layers
        ),
        outputs=tuple(
            f"type={output.kind},dest={output.destination}" for output in request.outputs if not output.push
        ),
        pushes=tuple(target.familiar for target in subject.push_targets),
    )
