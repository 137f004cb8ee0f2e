"""What the next step depends on, and what has been so far: checkpoints, histories, the best."""
