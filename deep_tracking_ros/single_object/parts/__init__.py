"""Parts that several single-object trackers share."""
