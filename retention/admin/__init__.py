"""The admin of what takes room: runs on disk and what is done to them, cleanups, archives, the trash, holds, policies."""

from retention.admin import holds, policies, records, runs

__all__ = ["holds", "policies", "records", "runs"]
