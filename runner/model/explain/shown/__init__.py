"""Worked layers for people: on a terminal, as Markdown, as a picture."""
