"""Overlays, plots and video files."""
