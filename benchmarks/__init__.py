"""Measurements with their targets: ``python dev.py bench NAME [--json]`` runs ``NAME.main``."""
