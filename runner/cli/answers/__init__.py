"""Answers to a wrong command line: its problems, and the command line that was meant."""
