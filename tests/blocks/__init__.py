"""Blocks: every table, what it makes of an answer, and that nothing of it is lost."""
