"""The state of a run: checkpoints, history, best weights, random generators."""
