"""Containers, frames, audio, shots and faces."""
