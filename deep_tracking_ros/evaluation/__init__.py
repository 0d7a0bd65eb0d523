"""Dataset readers, metrics and peers."""
