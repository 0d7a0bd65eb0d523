"""Trackers of many objects: detections in, tracks with ids out."""
