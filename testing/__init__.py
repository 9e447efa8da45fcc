"""What tests, demo and benchmarks share: the real things beside ours, and customers who call."""
