"""Linear concept erasure: fit and layer."""
