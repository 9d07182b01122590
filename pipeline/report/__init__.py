"""The morning page: one self-contained HTML file per night, made from the manifest alone. No customer data."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline.store.snapshots import Manifest, Snapshots

_TEMPLATES = Environment(
    loader=PackageLoader("pipeline.report", ""), autoescape=True, undefined=StrictUndefined
)


def write_report(manifest: Manifest, snapshots: Snapshots, *, published: bool, reason: str = "") -> str:
    """Write the page for a night beside its manifest. `reason` says why it was held, or anything else worth a line.

    Gives where it lies. Raises StorageError.
    """
    verdict = "Published." if published else "Held: the last snapshot stays live."
    page = _TEMPLATES.get_template("page.html.j2").render(
        **manifest.model_dump(),
        published=published,
        verdict=verdict,
        reason=reason,
        total=sum(manifest.outcomes.values()),
    )
    return snapshots.add(manifest.snapshot, "report.html", page.encode())
