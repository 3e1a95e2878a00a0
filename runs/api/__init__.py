"""The API for scripts: one file a noun; problems, paging and who may call what are shared.  trainmon/api.py wires it."""
