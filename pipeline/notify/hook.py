"""What may go wrong with a hook, in words without secrets."""

from __future__ import annotations

import socket
import ssl

_HOST_MISMATCH = (62, 64)
"""OpenSSL's codes for a certificate of another host; their text repeats the host."""


class HookError(Exception):
    """A hook failed. `again`: it may pass, and the same may be sent once more."""

    def __init__(self, message: str, *, again: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.again = again


def cause_of(exc: BaseException) -> str:
    """What the network did. Never the exception's own text: it may repeat a URL or a password."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        is_other = exc.verify_code in _HOST_MISMATCH
        return (
            f"its certificate is not accepted: {'it is for another host' if is_other else exc.verify_message}"
        )
    if isinstance(exc, ssl.SSLError):
        return f"TLS failed ({exc.reason or type(exc).__name__})"
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    if isinstance(exc, socket.gaierror):
        return "its host is not known"
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    return f"the connection broke ({type(exc).__name__})"
