"""The registry's pages: each view asks ``visible_to`` for what its user may see."""
