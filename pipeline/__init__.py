"""capillary-export: every night, every customer's details, into tables that analysts trust."""

import os

# Arrow's own allocators keep freed pages for later. Here many tables come one after the other, and what the last one
# held would only be added to what the next one takes. It reads this before its first use.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

# Nobody here multiplies matrices, and the second process is forked off while there is but one thread: no threads of
# numpy's and of an allocator's that nobody uses.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")

# Plugins may look into every model of pydantic's. We have none, and to look for some among all installed packages takes
# as long as to build the models.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

__version__ = "0.1.0"
