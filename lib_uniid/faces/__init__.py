"""Faces in pictures: safe decoding, detection, choice, alignment, quality."""
