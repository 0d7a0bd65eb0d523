"""The command ``deep-tracking``."""
