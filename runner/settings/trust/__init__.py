"""Trust: limits, secrets, permissions that only a person gives, and records of others."""
