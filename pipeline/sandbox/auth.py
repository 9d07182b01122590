"""Who may ask: a till's Basic password, or a token that still lives."""

import base64
import hashlib
import json
from dataclasses import dataclass

from pipeline.sandbox.answers import FORBIDDEN, UNAUTHORIZED, Answer, dump, note
from pipeline.sandbox.dice import mix, topic

TOKEN_HEADER = "X-CAP-API-OAUTH-TOKEN"  # noqa: S105, the header's name

_TOKEN = topic("token")


def basic(till: str, password: str) -> str:
    """The Authorization header of a till: its password goes as MD5 in hex."""
    digest = hashlib.md5(password.encode(), usedforsecurity=False).hexdigest()
    return "Basic " + base64.b64encode(f"{till}:{digest}".encode()).decode()


@dataclass(frozen=True)
class Credentials:
    """What the server accepts. The forbidden till has the same password, and access to nothing."""

    till: str
    password: str
    forbidden_till: str
    key: str
    secret: str
    ttl_s: float


class Doorkeeper:
    """Checks calls, hands out tokens."""

    def __init__(self, credentials: Credentials, seed: int) -> None:
        self._credentials = credentials
        self._basic = basic(credentials.till, credentials.password)
        self._forbidden = basic(credentials.forbidden_till, credentials.password)
        self._seed = seed
        self._tokens: dict[str, float] = {}  # token → when it dies
        self._given = 0

    def refusal(self, authorization: str | None, token: str | None, now: float) -> Answer | None:
        """Why the call may not pass; None if it may. A token, if sent, is what counts."""
        if token is not None:
            return None if self._tokens.get(token, now) > now else UNAUTHORIZED
        if authorization == self._basic:
            return None
        return FORBIDDEN if authorization == self._forbidden else UNAUTHORIZED

    def give_token(self, body: bytes, now: float) -> Answer:
        """The token endpoint's answer to a request body."""
        try:
            asked = json.loads(body)
        except ValueError:
            return _no_token(400, "Invalid request body")
        if not isinstance(asked, dict) or not {"key", "secret"} <= asked.keys():
            return _no_token(400, "Key or secret is missing")
        if (asked["key"], asked["secret"]) != (self._credentials.key, self._credentials.secret):
            return _no_token(401, "Failed to generate OAuth token")
        return Answer(
            200,
            dump({"data": {"accessToken": self._new_token(now), "ttlSeconds": self._ttl()}, "errors": None}),
        )

    def revoke_tokens(self) -> None:
        """All tokens die now, as after a change of the secret."""
        self._tokens.clear()

    def _new_token(self, now: float) -> str:
        self._tokens = {token: end for token, end in self._tokens.items() if end > now}
        self._given += 1
        # Looks like a JWT, signed by nobody.
        token = f"eyJhbGciOiJub25lIn0.{mix(self._seed, _TOKEN, self._given):016x}.sandbox"
        self._tokens[token] = now + self._credentials.ttl_s
        return token

    def _ttl(self) -> float:
        ttl_s = self._credentials.ttl_s
        return int(ttl_s) if ttl_s == int(ttl_s) else ttl_s


def _no_token(status: int, message: str) -> Answer:
    return Answer(status, dump({"data": None, "errors": [note(status, message)]}))
