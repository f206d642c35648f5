"""Audio-visual emotion recognition in JAX that separates what is felt from who feels it."""

__version__ = "0.1.0"
