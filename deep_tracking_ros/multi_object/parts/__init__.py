"""What the trackers of many objects share."""
