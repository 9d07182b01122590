"""The process that is the API: a sandbox that ends with whoever started it."""

from __future__ import annotations

import os
import sys

from pipeline.normalize.scribe import die_with_parent
from pipeline.sandbox.__main__ import main

if __name__ == "__main__":
    die_with_parent(os.getppid())
    main(sys.argv[1:])
