"""When to ask again: a plain function of what happened and how often."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class RetryPolicy:
    """How often one ID is asked, and how long a wait may get. `base_s` is the first wait's upper end."""

    max_attempts: int = 5
    max_wait_s: float = 120.0
    base_s: float = 1.0


def wait_before_retry(
    attempts: int, policy: RetryPolicy, rng: random.Random, retry_after_s: float | None = None
) -> float | None:
    """Seconds to wait before the next attempt, or None to give up.

    Exponential back-off with jitter over the upper half (AWS Architecture Blog, "Exponential Backoff And
    Jitter"): many IDs that failed together don't come back together. What the server asked for is a lower
    bound.
    """
    if attempts >= policy.max_attempts:
        return None
    ceiling: float = min(policy.max_wait_s, policy.base_s * 2.0 ** (attempts - 1))
    wait = ceiling * (0.5 + 0.5 * rng.random())
    return wait if retry_after_s is None else max(wait, min(retry_after_s, policy.max_wait_s))
