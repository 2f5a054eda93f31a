"""Steps 1 to 3 of a build: what is asked, what is there, and what must therefore be made.

Reads the source and the tools' versions; writes nothing and starts no worker.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from hostbuild.bases import NO_BASE, Base
from hostbuild.errors import SourceChangedError, SourceError, UnreachableError, UsageError
from hostbuild.languages import pick
from hostbuild.languages.base import BaseFiles, Inspection, Language, Project, TreePlan, Workshop
from hostbuild.layer import compression_of
from hostbuild.model import BuildRequest, Pairs
from hostbuild.oci.annotations import parse_annotations
from hostbuild.oci.platform import Platform, local_platform, parse_platforms, require_linux
from hostbuild.oci.reference import Reference
from hostbuild.plan import BuildPlan, LayerPlan, key_of
from hostbuild.records import replace
from hostbuild.shipping import HOME, Memory, Shipment, gather, ships_source
from hostbuild.source import FileDigests
from hostbuild.subject import BuildSubject
from hostbuild.vcs import History, read_history

__all__ = ["Bases", "BuildSubject", "Capture", "Look", "look", "rfc3339", "study", "working_dir"]

#: Tells the go command not to use the network: what is missing in its module cache, it names.
_OFFLINE = {"GOPROXY": "off"}
_REVISION = "org.opencontainers.image.revision"

#: argv, working directory, environment -> standard output, or None where it fails or is not there.
Capture = Callable[[Sequence[str], str, Mapping[str, str]], "str | None"]


class Bases(Protocol):
    """Who knows base images: asks registries, and remembers what they said."""

    def resolve(self, text: str, root: str) -> Base:
        """The base that `text` names for the source in `root`."""

    def platforms(self, base: Base) -> tuple[Platform, ...]:
        """All Linux platforms that the base has."""

    def files(self, base: Base, platforms: tuple[Platform, ...]) -> BaseFiles:
        """What the base's images for these platforms hold."""


class Look(NamedTuple):
    """A project, the language that is its own, and the base that it is to stand on."""

    project: Project
    language: Language
    base: Base


def look(
    request: BuildRequest,
    *,
    digests: FileDigests,
    bases: Bases,
    workshop: Workshop,
    memo: Mapping[str, str],
) -> Look:
    """Which language the project is of, and on what it stands. The arguments are those of `study`."""
    root = _root(request.root)
    platforms = _platforms(request, root, bases)
    language = pick(root, request.runtime)
    project = _project(request, root, platforms, digests=digests, workshop=workshop, memo=memo)
    base = _base(request, bases, language, project)
    return Look(replace(project, base=bases.files(base, platforms)), language, base)


def _base(request: BuildRequest, bases: Bases, language: Language, project: Project) -> Base:
    """The base that the user names, else the language's own choice, of which errors then speak."""
    if request.base:
        return bases.resolve(request.base, project.root)
    default = language.default_base(project)
    try:
        return bases.resolve(default, project.root)
    except UnreachableError as error:
        raise UnreachableError(
            f"the base image {default} cannot be had: {error.what}",
            why=error.why,
            fix=f"{error.fix}; or name another base with --base ({default} is the default for this project)",
        ) from error


def study(
    request: BuildRequest,
    *,
    digests: FileDigests,
    capture: Capture,
    bases: Bases,
    workshop: Workshop,
    memo: Mapping[str, str],
    memory: Memory,
) -> BuildSubject:
    """Everything about this build that can be known without making anything.

    `digests` remembers what files were; `capture` runs git; `bases` asks registries; `workshop` keeps what
    languages find out; `memo` remembers versions of tools, `memory` what ships. Raises UsageError,
    SourceError, and what the languages and the registries raise.
    """
    references = _references(request)
    form = compression_of(request.compression, request.compression_level).key
    seen = look(request, digests=digests, bases=bases, workshop=workshop, memo=memo)
    root, platforms, base, language = seen.project.root, seen.project.platforms, seen.base, seen.language
    annotations = parse_annotations(request.annotations)
    annotations.require_platforms(platforms)
    inspection = language.inspect(seen.project)
    history = _history(request, root, inspection, capture)
    created = rfc3339(request.created if request.created is not None else history.committed or 0)
    env, labels = _stamps(request, inspection, history, created)
    shipment = gather(
        request,
        root,
        inspection,
        digests,
        certificates=_certificates(request, inspection, base),
        home=working_dir(request, inspection, base) != "",
        memory=memory,
    )
    _refuse_mixture(inspection, shipment)
    return BuildSubject(
        request=request,
        root=root,
        references=references,
        platforms=platforms,
        base=base,
        annotations=annotations,
        language=language,
        inspection=inspection,
        created=created,
        env=env,
        labels=labels,
        shipment=shipment,
        plan=_plan(
            request,
            references[0],
            platforms,
            inspection,
            shipment,
            base=base,
            form=form,
            stamps={"created": created, "stamps": key_of("stamps", env=env, labels=labels)},
        ),
        warnings=(*inspection.warnings, *shipment.warnings),
    )


def _refuse_mixture(inspection: Inspection, shipment: Shipment) -> None:
    """What the language read must be what ships: some languages look for long. Raises SourceChangedError."""
    for each in inspection.inputs:
        ships = shipment.digest_of(each.label) if each.digest else ""
        if len(ships) == len(each.digest) and ships != each.digest:
            raise SourceChangedError(
                f"{each.label} was edited while it was looked at",
                fix="build again when the source is at rest",
            )


def rfc3339(seconds: int) -> str:
    """Seconds since the epoch as image specification's `created` has them: 2024-05-01T12:00:00Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _references(request: BuildRequest) -> tuple[Reference, ...]:
    names = request.tags or (f"{os.path.basename(os.path.realpath(request.root)).lower()}:latest",)
    return tuple(Reference.parse_tagged(name) for name in names)


def _platforms(request: BuildRequest, root: str, bases: Bases) -> tuple[Platform, ...]:
    texts = [part.strip() for text in request.platforms for part in text.split(",")]
    if "local" in texts:
        system = os.uname()
        local = str(
            local_platform("linux", system.machine)
        )  # what a host of any system can run: Linux images
        texts = [local if text == "local" else text for text in texts]
    if "all" in texts:
        return _all_platforms(request, root, bases, texts)
    platforms = parse_platforms(texts)
    for platform in platforms:
        require_linux(platform)
    return platforms


def _all_platforms(
    request: BuildRequest, root: str, bases: Bases, texts: Sequence[str]
) -> tuple[Platform, ...]:
    if set(texts) != {"all"}:
        raise UsageError("--platform names all, and others besides", fix="write all alone, or name them")
    base = bases.resolve(request.base, root) if request.base else NO_BASE
    if base.is_scratch:
        raise UsageError(
            "--platform all means all that the base image has, and there is no base image",
            fix="name the platforms, or a base image with --base",
        )
    return bases.platforms(base)


def working_dir(request: BuildRequest, inspection: Inspection, base: Base) -> str:
    """/func, as knative func has it; a program that ships no source keeps its base's directory ("")."""
    keeps = not ships_source(request, inspection) and not base.is_scratch
    return "" if keeps else f"/{HOME}"


def _certificates(request: BuildRequest, inspection: Inspection, base: Base) -> bool:
    """On nothing, where the language needs them; a base has its own, which nobody overwrites unasked."""
    if request.certificates is not None:
        return request.certificates
    return inspection.needs_certificates and base.is_scratch


def _root(path: str) -> str:
    root = os.path.realpath(path)
    if not os.path.lexists(root):
        raise SourceError(f"there is no directory {path!r}", fix="name the directory that holds the source")
    if not os.path.isdir(root):
        raise SourceError(f"{path!r} is not a directory", fix="name the directory that holds the source")
    return root


def _project(
    request: BuildRequest,
    root: str,
    platforms: tuple[Platform, ...],
    *,
    digests: FileDigests,
    workshop: Workshop,
    memo: Mapping[str, str],
) -> Project:
    return Project(
        root=root,
        platforms=platforms,
        environment={**request.environment, **_OFFLINE} if request.access.offline else request.environment,
        digest_file=digests.of,
        package=request.package,
        runtime=request.runtime,
        invoke=request.invoke,
        options={
            "ldflags": request.ldflags,
            "tags": ",".join(request.build_tags),
            "extras": "\n".join(request.extras),
            "groups": "\n".join(request.groups),
            "requirements": "\n".join(request.requirements),
            "compile": "true" if request.compile else "",
        },
        build_env=request.build_env,
        memo=memo,
        has_start=request.entrypoint is not None or request.cmd is not None,
        workshop=workshop,
    )


def _stamped(request: BuildRequest, inspection: Inspection) -> bool:
    return inspection.kind == "function" if request.stamp is None else request.stamp


def _history(request: BuildRequest, root: str, inspection: Inspection, capture: Capture) -> History:
    stamp = _stamped(request, inspection)
    if request.created is not None and not stamp:
        return History()
    if not _in_repository(root) and "GIT_DIR" not in request.environment:
        return History()  # starting git to hear that takes longer than all else
    git = request.environment.get("FUNC_GIT") or "git"
    environment = {**request.environment, "LC_ALL": "C"}
    return read_history(lambda argv: capture(argv, root, environment), git=git, stamp=stamp)


def _in_repository(directory: str) -> bool:
    while not os.path.lexists(os.path.join(directory, ".git")):
        parent = os.path.dirname(directory)
        if parent == directory:
            return False
        directory = parent
    return True


def _stamps(
    request: BuildRequest, inspection: Inspection, history: History, created: str
) -> tuple[Pairs, Pairs]:
    if not _stamped(request, inspection):
        return inspection.env, inspection.labels
    env = (*inspection.env, ("FUNC_CREATED", created), ("FUNC_VERSION", history.version))
    revision = ((_REVISION, history.revision),) if history.revision else ()
    return env, (*inspection.labels, *revision)


def _plan(
    request: BuildRequest,
    reference: Reference,
    platforms: tuple[Platform, ...],
    inspection: Inspection,
    shipment: Shipment,
    *,
    base: Base,
    form: str,
    stamps: Mapping[str, str],
) -> BuildPlan:
    """The keys: of each layer, and of the whole (the build ID)."""
    language = inspection.language
    common = tuple(LayerPlan(tree.name, _tree_key(tree, form, language)) for tree in inspection.shared)
    own = tuple(
        tuple(
            LayerPlan(tree.name, _tree_key(tree, form, language, platform), str(platform)) for tree in trees
        )
        for platform, trees in zip(platforms, inspection.own, strict=True)
    )
    shared = tuple(layer.plan for layer in shipment.layers)
    inputs = {
        "base": str(base),
        "compression": form,
        "name": str(reference),
        "platforms": ", ".join(map(str, platforms)),
        **{f"layer {plan.name}": plan.key for plan in (*shared, *common)},
        **{f"layer {plan.name} {plan.platform}": plan.key for plans in own for plan in plans},
        "start": key_of(
            "start",
            entrypoint=inspection.entrypoint,
            cmd=inspection.cmd,
            search_paths=inspection.search_paths,
        ),
        **stamps,
        "request": key_of(
            "request",
            annotations=request.annotations,
            cmd=request.cmd,
            entrypoint=request.entrypoint,
            env=request.env,
            labels=request.labels,
            ports=request.ports,
            user=request.user,
            volumes=request.volumes,
        ),
    }
    return BuildPlan(key_of("build", **inputs), inputs, shared, common, own)


def _tree_key(tree: TreePlan, form: str, language: str, platform: Platform | None = None) -> str:
    return key_of(
        "language layer",
        format=form,
        language=language,
        platform=str(platform or ""),
        recipe=tree.recipe,
        inputs=[[each.label, each.digest] for each in tree.inputs],
    )
