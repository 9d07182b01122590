"""How others would do the same work. Each file runs in an environment of its own (see `bench.run_peers`)."""
