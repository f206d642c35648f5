"""A trained network on one's own films, and as a file for other programs."""
