"""Pictures in, faces out: safe decoding, detection, choice, alignment, quality."""
