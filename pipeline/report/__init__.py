"""The morning page: one self-contained HTML file per night, made from the manifest alone. No customer data."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline.store.atomic import write_atomically
from pipeline.store.snapshots import Manifest

_TEMPLATES = Environment(
    loader=PackageLoader("pipeline.report", ""), autoescape=True, undefined=StrictUndefined
)


def write_report(manifest: Manifest, path: Path, *, published: bool, reason: str = "") -> None:
    """Write the page for a night. `reason` says why it was held, or anything else worth a line."""
    verdict = "Published." if published else "Held: the last snapshot stays live."
    page = _TEMPLATES.get_template("page.html.j2").render(
        **manifest.model_dump(),
        published=published,
        verdict=verdict,
        reason=reason,
        total=sum(manifest.outcomes.values()),
    )
    write_atomically(path, page.encode())
