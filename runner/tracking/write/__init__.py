"""A run on its way into a store: recorded on the disk first, then delivered."""
