"""The jobs of a sweep, one by one, together, or in other processes."""
