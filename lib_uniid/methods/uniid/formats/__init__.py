"""The published files that UniID works with, as formats."""
