"""Searches: trials from Optuna, run as jobs of a sweep."""
