"""Metrics, attackers, statistics and the evaluation of a run."""
