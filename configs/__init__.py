"""Experiments: each file's `get_config(size)` returns a locked config."""
