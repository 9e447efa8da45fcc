"""Performance: each module is one benchmark, run by `make bench NAME=…`; its last line is one JSON object."""
