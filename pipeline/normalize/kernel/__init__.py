"""The usual answer, from its bytes to typed columns, in C: a tenth of what the same costs in Python.

`kernel.c` does it, by a plan that `plan.py` writes from the declarations; `library.py` loads it, `collecting.py` makes
Arrow of what it gives. It takes only what it understands wholly and refuses the rest, which goes the way of
`blocks.collect`; both ways give the same rows (`tests/normalize/test_kernel.py`). Where there is no compiler to build
it with, everything goes that way, and only takes longer.
"""
