"""What the command line does, from Python: see `runner.train`, `runner.sweep`, `runner.run`, `runner.runs`."""
