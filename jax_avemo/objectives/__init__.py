"""Losses and loss balancing."""
