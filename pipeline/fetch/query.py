"""The query string of Get Customer Details, the same for every ID (API.md, sections 4 and 5)."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from pipeline.config import ApiConfig

LARGEST_PAGE = 100
"""The API refuses a larger `ug2Limit` (8102)."""


def query_string(api: ApiConfig, embed: Sequence[str]) -> str:
    """Percent-encoded, `embed` as one comma list; booleans as true and false.

    Without `ug2Offset`: that differs from page to page, and `client.Client` adds it.
    """
    pairs: list[tuple[str, object]] = [("source", api.source)]
    if api.account_id is not None:
        pairs.append(("accountId", api.account_id))
    if embed:
        pairs.append(("embed", ",".join(embed)))
    with_gaps = any(name.lower() == "mlp" for name in embed)
    params = _with_whole_groups(api.params.model_dump(exclude_none=True), embed)
    for name, value in params.items():
        if name != "ug2Offset" and (with_gaps or name not in ("gapToUpgrade", "gapToRenew")):
            pairs.append((name, str(value).lower() if isinstance(value, bool) else value))
    return "&".join(f"{name}={quote(str(value), safe=',')}" for name, value in pairs)


def _with_whole_groups(params: dict[str, object], embed: Sequence[str]) -> dict[str, object]:
    """User groups come in pages: ask for the largest ones, and for what tells whether more follow."""
    if not any(name.lower() == "usergroup" for name in embed):
        return params
    return {"ug2Limit": LARGEST_PAGE, "ug2PaginationDetails": True} | params
