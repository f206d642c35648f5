"""Prediction with a trained network, and its export."""
