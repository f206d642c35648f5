"""Weights trained elsewhere."""
