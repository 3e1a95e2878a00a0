"""The admin of what takes room: runs on disk and what is done to them, cleanups, archives, the trash, holds, policies."""

from retention.admin import policies, records, runs

__all__ = ["policies", "records", "runs"]
