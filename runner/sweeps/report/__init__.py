"""The results of a sweep: table, files, screen and plots."""
