"""Searches: trials of Optuna, run as jobs of a sweep."""
