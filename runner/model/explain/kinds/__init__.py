"""Kinds of layers: a file for those that are worked in the same way, with the members of `parts.Family`."""
