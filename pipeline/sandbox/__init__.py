"""A stand-in for the customer-details API: a real HTTP server with made-up people, a quota, faults on a plan
and a judge.

It imports nothing from the rest of the pipeline. `python -m pipeline.sandbox` runs it."""

from pipeline.sandbox.auth import TOKEN_HEADER, basic
from pipeline.sandbox.bodies import write_body
from pipeline.sandbox.config import SandboxConfig
from pipeline.sandbox.customers import customer_id, known_ids
from pipeline.sandbox.faults import Plan, parse_plan
from pipeline.sandbox.judge import Judge
from pipeline.sandbox.server import Sandbox, run_sandbox, serve

__all__ = [
    "TOKEN_HEADER",
    "Judge",
    "Plan",
    "Sandbox",
    "SandboxConfig",
    "basic",
    "customer_id",
    "known_ids",
    "parse_plan",
    "run_sandbox",
    "serve",
    "write_body",
]
