"""capillary-export: every night, every customer's details, into tables that analysts trust."""

import os

# Arrow's allocator keeps freed pages for later by itself. Here many tables come one after the other, and what the
# last one held would only be added to what the next one takes. It reads these before its first use.
os.environ.setdefault("MIMALLOC_PURGE_DELAY", "0")
os.environ.setdefault("MIMALLOC_ARENA_EAGER_COMMIT", "0")

__version__ = "0.1.0"
