"""Temporal alignment and baseline fusions."""
