"""The image specification's own JSON schemas against a layout's documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft4Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

from tests.rig.layout import Layout

SCHEMAS = Path(__file__).parent.parent / "data" / "image-spec"


_BASE = "https://opencontainers.org/schema/"


def _without_ids(node: Any) -> Any:
    """The schema without its `id` keywords: they move the base that the relative `$ref`s start from."""
    if isinstance(node, dict):
        return {
            key: _without_ids(value)
            for key, value in node.items()
            if not (key == "id" and isinstance(value, str) and value.startswith(_BASE))
        }
    if isinstance(node, list):
        return [_without_ids(value) for value in node]
    return node


def _registry(folder: Path) -> Registry[Any]:
    documents = {file.name: _without_ids(json.loads(file.read_text())) for file in folder.glob("*.json")}
    assert {"image-index-schema.json", "image-manifest-schema.json", "config-schema.json"} <= set(documents)
    resources = [
        (_BASE + name, Resource.from_contents(document, default_specification=DRAFT4))
        for name, document in documents.items()
    ]
    registry: Registry[Any] = Registry()
    return registry.with_resources(resources)


class Schemas:
    """Validators by the name of the schema's file."""

    def __init__(self) -> None:
        self._registry = _registry(SCHEMAS)

    def errors(self, name: str, document: object) -> list[str]:
        """What the schema `name` finds wrong in `document`; nothing is an empty list."""
        validator = Draft4Validator({"$ref": _BASE + name}, registry=self._registry)
        return [f"{name}: {error.json_path}: {error.message}" for error in validator.iter_errors(document)]

    def check(self, layout: Layout) -> None:
        """Fail if any JSON document of the layout is not what the specification's schemas ask."""
        found = self.errors("image-layout-schema.json", json.loads((layout.path / "oci-layout").read_text()))
        found += self.errors("image-index-schema.json", json.loads((layout.path / "index.json").read_text()))
        found += self.errors("image-index-schema.json", layout.index)
        for image in layout.images.values():
            found += self.errors("image-manifest-schema.json", image.manifest)
            found += self.errors("config-schema.json", image.config)
        assert found == []
