"""The pages of storage and cleanup."""
