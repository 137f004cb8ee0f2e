"""What a person has typed and what a stranger may say: limits, secrets, permissions, records."""
