"""Whether a customer changed: a hash of the answer that forgets what differs from call to call anyway.

Left out are signed URLs and storage tokens (an hour old, they are others), warnings and errors (they tell of the
call), and the order of the blocks. Inside a block every byte counts: sorting all keys of all objects would cost more
than the whole hash. So a server that wrote maps in another order each time would look like a change.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from pipeline.jsontext import Blocks, blocks_of

BYTES = 8
OF_THE_CALL = frozenset({"warnings", "errors"})
IMAGES = frozenset({"customerImage", "associatedImages"})
_SECRET_FIELD = re.compile(rb'"(?:filePath|secureFilePath|s3Token)"\s*:\s*"[^"\\]*(?:\\.[^"\\]*)*"')
_SIGNED_QUERY = re.compile(rb'\?[^"\\]*Signature=[^"\\]*', re.IGNORECASE)


def body_hash(body: bytes, pages: Iterable[bytes] = (), top: Blocks | None = None) -> str:
    """16 hex digits, of an answer and its further pages. A body that no strict decoder reads counts as it is.

    `top` is what `blocks_of` says of the body, where that is known.
    """
    digest = hashlib.blake2b(_stable(body, top or blocks_of(body)), digest_size=BYTES)
    for page in pages:
        digest.update(_stable(page, blocks_of(page)))
    return digest.hexdigest()


def _stable(body: bytes, blocks: Blocks | None) -> bytes:
    if blocks is None:
        return body
    told, names, images = _plan(tuple(blocks))
    told = told.copy()
    told[1::2] = map(blocks.__getitem__, names)
    for place in images:
        told[place] = _SECRET_FIELD.sub(b"", bytes(told[place]))
    text = b"".join(told)
    return _SIGNED_QUERY.sub(b"", text) if b"?" in text and b"ignature=" in text else text


@lru_cache(256)
def _plan(names: tuple[str, ...]) -> tuple[list[Any], list[str], list[int]]:
    """For the blocks of an answer: their names, each with room for its bytes, in the order in which they are hashed.

    And the names once more, and in which of the rooms images come. Most answers have the same blocks.
    """
    told = sorted(set(names) - OF_THE_CALL)
    rooms = [word for name in told for word in (name.encode(), b"")]
    return rooms, told, [2 * place + 1 for place, name in enumerate(told) if name in IMAGES]
