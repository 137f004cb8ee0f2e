"""From the layers of a configuration to a torch module, and the arithmetic of layers worked by hand."""
