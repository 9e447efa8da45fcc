"""From nothing to a spoken conversation: what `make demo` runs, and the customer that tests and benchmarks share."""
