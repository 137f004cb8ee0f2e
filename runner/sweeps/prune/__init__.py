"""Pruning: jobs of a sweep are ended early when others do better."""
