"""Boxes, crops and other geometry over numpy arrays."""
