"""Detectors: images in, boxes with scores and classes out; any ONNX file of a known family, or what moves."""
