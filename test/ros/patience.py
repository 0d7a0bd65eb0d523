"""How long tests wait for what must come: it costs nothing where it comes soon, and a machine may be busy."""

PATIENCE = 90.0
"""Seconds."""
