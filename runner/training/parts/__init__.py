"""The parts of a run: data, loss, optimizer, schedule, metrics."""
