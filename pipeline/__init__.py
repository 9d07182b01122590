"""capillary-export: every night, every customer's details, into tables that analysts trust."""

import os

# Arrow's own allocators keep freed pages for later. Here many tables come one after the other, and what the last one
# held would only be added to what the next one takes. It reads this before its first use.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

__version__ = "0.1.0"
