"""Random small configurations, trained by `runner` and by plain torch: `python -m tests.against_torch 1000`."""
