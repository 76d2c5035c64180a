"""The way back to bronze in dbt's documentation.

dbt draws what its models read, and a source is where its graph ends. What gold is made of is known from the transforms
(`sources.py` writes it into each source's `meta`), so the arrows between sources are added to what dbt has written.
"""

from __future__ import annotations

import json
from pathlib import Path

PAGE = "static_index.html"


def draw(folder: Path) -> None:
    """Add the arrows to the documentation that dbt has generated.

    Args:
        folder: has dbt's `manifest.json`, `catalog.json` and `index.html`. The first is changed, and the page with both in it
            is written anew.
    """
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    told = {key: source["meta"] for key, source in manifest["sources"].items() if "dataset" in source["meta"]}
    keys = {meta["dataset"]: key for key, meta in told.items()}
    for key, meta in told.items():
        above = [keys[dataset] for dataset in meta["made_of"] if dataset in keys]
        manifest["parent_map"][key] = above
        for each in above:
            below = manifest["child_map"].setdefault(each, [])
            below += [key] if key not in below else []
    text = json.dumps(manifest)
    (folder / "manifest.json").write_text(text, "utf-8")
    page = (folder / "index.html").read_text("utf-8")
    for name, data in (("MANIFEST", text), ("CATALOG", (folder / "catalog.json").read_text("utf-8"))):
        page = page.replace(f'"{name}.JSON INLINE DATA"', data)
    (folder / PAGE).write_text(page, "utf-8")
