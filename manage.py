#!/usr/bin/env python
"""trainmon's command line: every command works on its own (see docs/operations.md)."""

import os
import sys


def main() -> None:
    """Run one management command, with the embedded database where none is given."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainmon.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
