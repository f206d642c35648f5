"""Linear concept erasure."""
