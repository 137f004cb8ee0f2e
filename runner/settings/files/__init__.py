"""Files and places: files that are whole or not there, names that a file system takes, the line that sets a key."""
