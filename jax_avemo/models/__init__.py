"""The networks, as Flax linen modules."""
