"""Weights files: what they are, whether they are whole and safe, and their tensors.

``header``, ``format``, ``formats``, ``families``, ``sources`` and ``folder`` look without loading and without
torch; ``reading`` and ``loading`` bring tensors.
"""
