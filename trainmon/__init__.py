"""trainmon watches training runs from the logs they already write."""

__version__ = "0.1.0"
