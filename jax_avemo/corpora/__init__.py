"""Readers: how each corpus lies on disk, turned into Recordings."""
