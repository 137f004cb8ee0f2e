"""Runs of the past: found, loaded, continued, compared and exported."""
