"""`make bench-quota` in its short form: the limits hold exactly, as a server in another process saw it."""

from __future__ import annotations

import pytest

from bench.quota import page, run_all, short_cases, used_share


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
