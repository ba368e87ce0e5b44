"""People who were enrolled."""
