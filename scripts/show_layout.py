"""Print a small listing of an OCI image layout: each platform, its manifest, its layers and their sizes.

Usage: python scripts/show_layout.py LAYOUT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def blob(layout: Path, digest: str) -> dict[str, Any]:
    """The JSON document that `digest` names in `layout`."""
    algorithm, _, name = digest.partition(":")
    document: dict[str, Any] = json.loads((layout / "blobs" / algorithm / name).read_bytes())
    return document


def platform_text(platform: dict[str, Any]) -> str:
    """`os/architecture[/variant]` of a descriptor's platform."""
    parts = (platform["os"], platform["architecture"], platform.get("variant", ""))
    return "/".join(part for part in parts if part)


def listing(layout: Path) -> list[str]:
    """The lines to show; every blob that they name was read."""
    lines = []
    outer = json.loads((layout / "index.json").read_bytes())
    for named in outer["manifests"]:
        reference = named.get("annotations", {}).get("org.opencontainers.image.ref.name", "(no name)")
        lines.append(f"{reference}  in {layout}")
        for descriptor in blob(layout, named["digest"])["manifests"]:
            manifest = blob(layout, descriptor["digest"])
            history = blob(layout, manifest["config"]["digest"]).get("history", [])
            made = [entry.get("created_by", "") for entry in history if not entry.get("empty_layer")]
            lines.append(f"  {platform_text(descriptor['platform']):<14} {descriptor['digest']}")
            for number, layer in enumerate(manifest["layers"]):
                why = made[number] if number < len(made) else ""
                lines.append(f"    {layer['size']:>11,} bytes  {layer['digest'][:19]}…  {why}".rstrip())
    return lines


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    print("\n".join(listing(Path(arguments[0]))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
