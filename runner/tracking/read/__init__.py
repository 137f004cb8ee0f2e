"""Reading runs of the past: to load, continue, compare and export them."""
