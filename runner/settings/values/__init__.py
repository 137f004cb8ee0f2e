"""Names and values of a configuration: the object that a name means, types and ranges."""
