"""What a run is built of: data, loss, optimizer, schedule, metrics."""
