"""The admin of what takes room: runs on disk and what is done to them, cleanups, archives, the trash, holds."""

from retention.admin import records, runs

__all__ = ["records", "runs"]
