"""Journal in, parts out: plain code that runs beside the fetch in a process of its own, or alone for a rebuild."""
