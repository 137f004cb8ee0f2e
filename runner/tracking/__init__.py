"""What a run leaves in MLflow and what is read back. The room that knows MLflow."""
