"""Encoders of face crops into ID features: the face recogniser, the CLIP image tower, and both together."""
