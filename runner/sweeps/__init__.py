"""Sweeps: plan, jobs, progress, results."""
