"""The face network."""
