"""Readers: bytes of a file in, values out.

One module a format.  Nothing here imports Django or a model, so each reader is
tested without a database and runs in a child process that holds none.
"""
