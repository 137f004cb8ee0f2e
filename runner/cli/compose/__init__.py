"""Hydra composes a configuration, which becomes Settings."""
