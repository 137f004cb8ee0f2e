"""Random small configurations, trained by `runner` and by a plain torch script: `python -m tests.against_torch 1000`."""
