"""Everything that can be wrong with settings, data and model, found before training."""
