"""The published files that UniPortrait works with, as formats."""
