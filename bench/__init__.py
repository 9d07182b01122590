"""Measurements of the program: each prints a table, and writes it beside this file."""
