"""Recurrent networks over aligned steps."""
