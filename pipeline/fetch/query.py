"""The query string of Get Customer Details, the same for every ID (API.md, sections 4 and 5)."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from pipeline.config import ApiConfig


def query_string(api: ApiConfig, embed: Sequence[str]) -> str:
    """Percent-encoded, `embed` as one comma list; booleans as true and false."""
    pairs: list[tuple[str, object]] = [("source", api.source)]
    if api.account_id is not None:
        pairs.append(("accountId", api.account_id))
    if embed:
        pairs.append(("embed", ",".join(embed)))
    with_gaps = any(name.lower() == "mlp" for name in embed)
    for name, value in api.params.model_dump(exclude_none=True).items():
        if with_gaps or name not in ("gapToUpgrade", "gapToRenew"):
            pairs.append((name, str(value).lower() if isinstance(value, bool) else value))
    return "&".join(f"{name}={quote(str(value), safe=',')}" for name, value in pairs)
