"""Helpers that several test files share: commands as processes, servers, disks, devices, stores that fail."""
