"""The new snapshot's files: the last snapshot, minus the customers seen tonight, plus tonight's rows.

Every input is sorted by customer_id, so a table is merged in one pass, round by round (`rounds`), with a bounded
number of bytes in memory. Tonight's parts become few sorted runs first (`runs`). Who leaves the last snapshot is
decided once for the night (`leaving`); what that changed can be told beside the table (`changes`).
"""

from pipeline.merge.files import write_files
from pipeline.merge.groups import ROW_GROUP_BYTES
from pipeline.merge.leaving import Leaves, Leaving, codes_in
from pipeline.merge.runs import SORTING_BYTES
from pipeline.merge.table import Changed, MergedTable, SortedTable, TableInputs, merge_table, sort_table

__all__ = [
    "ROW_GROUP_BYTES",
    "SORTING_BYTES",
    "Changed",
    "Leaves",
    "Leaving",
    "MergedTable",
    "SortedTable",
    "TableInputs",
    "codes_in",
    "merge_table",
    "sort_table",
    "write_files",
]
