"""The morning page: one self-contained HTML file per night. Counts only: no customer's data, no customer's ID.

`gather` reads the facts of a night from its files, whether it ended, died, or is under way; `page_of` makes the page of
them. Neither writes anything.
"""

from __future__ import annotations

from pipeline.report.calls import NightCalls
from pipeline.report.facts import Facts, Forecast, Status
from pipeline.report.gathering import Source, gather
from pipeline.report.page import page_of

__all__ = ["Facts", "Forecast", "NightCalls", "Source", "Status", "gather", "page_of"]
