"""Capabilities as pure functions of stamped input."""
