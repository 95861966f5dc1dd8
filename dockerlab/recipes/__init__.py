"""Base images made without a registry."""
