"""The replies that aren't a customer: refusals, errors in every wrapper the API is known to use, gateway
pages."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

JSON = "application/json"
XML = "application/xml"
HTML = "text/html"

DELETED_MESSAGE = "Customer is deleted after PII delete request"


@dataclass(frozen=True)
class Answer:
    """One whole HTTP reply, before a fault touches it."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


def note(code: int, message: str) -> dict[str, object]:
    """One element of `errors` or `warnings`."""
    return {"status": False, "code": code, "message": message}


def dump(document: object) -> bytes:
    """JSON for small fixed replies."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def errors(code: int, message: str, status: int = 200) -> Answer:
    """A business error the usual way: HTTP 200 and `errors`."""
    return Answer(status, dump({"warnings": [], "errors": [note(code, message)]}))


def bare_errors(code: int, message: str) -> Answer:
    """The same without the `warnings` key, as some replies have it."""
    return Answer(200, dump({"errors": [note(code, message)]}))


def gateway(status: int) -> Answer:
    """A proxy's own page: HTML, nothing of the API in it."""
    title = f"<head><title>{status}</title></head>"
    page = f"<!DOCTYPE html>\n<html>{title}<body><h1>Error {status}</h1></body></html>\n"
    return Answer(status, page.encode(), HTML, {"Server": "cloudflare"})


BLANK_400 = Answer(400, b"{}")
EMPTY_400 = Answer(400, b"")
NOT_FOUND = errors(8015, "Customer not found for the given identifiers")

UNAUTHORIZED = Answer(
    401,
    b'<?xml version="1.0" encoding="UTF-8"?>\n<response><status><success>false</success><code>401</code>'
    b"<message>Authentication failed. Please check username and password.</message></status></response>",
    XML,
)
FORBIDDEN = errors(4000, "Not authorized. Access is denied!", status=403)
AUTH_UNAVAILABLE = errors(4001, "Authorization status unavailable!", status=503)
WAF_BLOCK = Answer(
    403,
    b"<!DOCTYPE html><html><head><title>Access denied</title></head><body><h1>Error 1020</h1>"
    b"<p>This website is using a security service.</p></body></html>",
    HTML,
    {"Server": "cloudflare"},
)

# Nobody outside knows how the API words a deleted customer, only the message: so every wrapper is here.
DELETED = (
    errors(8026, DELETED_MESSAGE),
    errors(8015, DELETED_MESSAGE),
    errors(8026, DELETED_MESSAGE, status=400),
    errors(8015, DELETED_MESSAGE, status=404),
    Answer(200, dump({"message": DELETED_MESSAGE})),
    Answer(200, dump({"profiles": [], "segments": {}, "warnings": [note(8026, DELETED_MESSAGE)]})),
)


def too_many(headers: Mapping[str, str]) -> Answer:
    """429; whether and how it says when to come back is in the headers given."""
    return Answer(429, dump({"errors": [note(429, "Rate limit exceeded")]}), JSON, headers)
