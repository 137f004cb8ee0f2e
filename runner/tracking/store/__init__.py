"""Tracking stores: opened, checked, mended, and where their artifacts are."""
