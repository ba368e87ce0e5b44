"""How the miniature's weights were made: one recipe per file, fixed seeds, run in the order of ``recipes.all``."""
