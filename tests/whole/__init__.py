"""Tests that belong to no room: laws over whole runs and experiments, documents, layering, packaging."""
