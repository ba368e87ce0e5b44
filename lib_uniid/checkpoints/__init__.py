"""Weights files: their type, checks of completeness and safety, and their tensors.

``header``, ``format``, ``formats``, ``families``, ``sources`` and ``folder`` inspect files without loading
them and without torch; ``reading`` and ``loading`` load tensors.
"""
