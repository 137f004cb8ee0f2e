"""Files and places: whole or not there, names that a file system takes, where a key was said."""
