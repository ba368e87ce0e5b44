"""Benchmarks with targets: ``python dev.py bench NAME [--json]`` runs ``NAME.main``."""
