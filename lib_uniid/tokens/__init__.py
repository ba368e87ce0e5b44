"""From ID features to identity tokens: one file per method."""
