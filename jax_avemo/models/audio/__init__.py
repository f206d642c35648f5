"""The audio front end and network."""
