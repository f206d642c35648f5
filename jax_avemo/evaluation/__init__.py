"""Metrics, probes and the evaluation of a run."""
