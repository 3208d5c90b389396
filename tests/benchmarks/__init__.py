"""Speed, measured against a peer in the same run; the tables go into docs/benchmarks.md."""
