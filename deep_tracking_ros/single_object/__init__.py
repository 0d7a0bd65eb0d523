"""Trackers that follow one object each from a box in a first picture."""
