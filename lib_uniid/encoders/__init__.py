"""Crops in, ID features out: the face recogniser, the CLIP image tower, and both together."""
