"""Tonight's config against the sandbox, at the last nights' latency, sizes and faults, in compressed time.

This file imports nothing: `rehearse.night` sets the clocks before anything else may look at them.
"""
