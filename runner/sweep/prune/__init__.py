"""Jobs of a sweep that are ended early because others do better."""
