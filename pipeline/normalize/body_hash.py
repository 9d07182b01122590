"""Whether a customer changed: a hash of the answer that forgets what differs from call to call anyway.

Left out are signed URLs and storage tokens (an hour old, they are others), warnings and errors (they tell of the
call), and the order of the blocks. Inside a block every byte counts: sorting all keys of all objects would cost more
than the whole hash. So a server that wrote maps in another order each time would look like a change.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

import msgspec

BYTES = 8
OF_THE_CALL = frozenset({"warnings", "errors"})
IMAGES = frozenset({"customerImage", "associatedImages"})
_TOP = msgspec.json.Decoder(dict[str, msgspec.Raw])
_SECRET_FIELD = re.compile(rb'"(?:filePath|secureFilePath|s3Token)"\s*:\s*"[^"\\]*(?:\\.[^"\\]*)*"')
_SIGNED_QUERY = re.compile(rb'\?[^"\\]*Signature=[^"\\]*', re.IGNORECASE)


def body_hash(body: bytes, pages: Iterable[bytes] = ()) -> str:
    """16 hex digits, of an answer and its further pages. A body that no strict decoder reads counts as it is."""
    stable = b"".join(map(_stable, (body, *pages)))
    return hashlib.blake2b(stable, digest_size=BYTES).hexdigest()


def _stable(body: bytes) -> bytes:
    try:
        blocks: dict[str, msgspec.Raw] = _TOP.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body
    told: list[bytes | msgspec.Raw] = []
    for name in sorted(blocks):
        if name not in OF_THE_CALL:
            block = blocks[name]
            told += name.encode(), _SECRET_FIELD.sub(b"", bytes(block)) if name in IMAGES else block
    text = b"".join(told)
    return _SIGNED_QUERY.sub(b"", text) if b"ignature=" in text else text
