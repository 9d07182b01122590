"""What of the merge is done in C: columns become records, records are put in order. Without a compiler numpy does it.

Both ways give the same records (`tests/test_records.py`).
"""
