"""The record of a run in MLflow: written, delivered, read back. Only this room imports MLflow."""
