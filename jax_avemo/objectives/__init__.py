"""Losses and how task gradients are weighed."""
