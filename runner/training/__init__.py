"""One run: from Settings to its last event."""
