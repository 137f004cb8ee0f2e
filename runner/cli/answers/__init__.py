"""What is wrong with a configuration or a command line, and the one that would have worked."""
