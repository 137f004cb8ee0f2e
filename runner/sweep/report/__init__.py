"""What a sweep has come to: its table, files, plots and what a person sees."""
