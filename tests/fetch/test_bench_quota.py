"""`make bench-quota` in its short form: the limits hold exactly, as a server in another process saw it."""

from __future__ import annotations

import pytest

from bench.quota import Row, page, run_all, short_cases, table, together, used_share


@pytest.mark.slow
def test_no_window_of_the_servers_is_too_full() -> None:
    """The real client, the real second process, real sockets. How much is used is the machine's affair here."""
    rows = run_all(*short_cases())
    assert len(rows) == 3
    for row in rows:
        assert row.holds, row
        assert row.used > 0.1 * min(row.allowed, row.calls), row
    assert "share used" in page(rows, (0.0,))


def test_the_share_is_the_lower_of_two() -> None:
    """Of few calls the pace tells more than the count; of many that come late in each window, the count."""
    assert used_share([0.0, 1.25, 2.5, 3.75, 5.0], 1, 1.0) == (5, 4, 0.8)
    late = [window + 0.5 + 0.01 * number for window in range(4) for number in range(10)]
    allowed, used, share = used_share(late, 20, 1.0)
    assert (allowed, used) == (60, 30)
    assert share <= 0.5


def test_rounds_come_together_as_the_median_and_the_fullest_window() -> None:
    """A window that was too full in one round of three is told."""
    rounds = [
        Row("9/s", "9 per 1 s", 9, 9, share, 9 + (share < 0.97), 9, 0, 1) for share in (0.98, 0.96, 0.99)
    ]
    row = together(rounds)
    assert (row.share, row.busiest, row.holds, row.shares) == (0.98, 10, False, (0.96, 0.98, 0.99))
    assert "98.00 % (96.00–99.00) | 10 / 9 **too many**" in table([row])
