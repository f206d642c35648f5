"""Containers, frames, sound and faces."""
