"""How the miniature's weights were made: one recipe per file, fixed seeds, in the order of ``README.md``."""
