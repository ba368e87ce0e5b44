"""The miniature measured end to end: people outside the training data, through the same code that users run.

The judge is insightface's recogniser of the pack, trained apart from the method's own backbone. References
are always other pictures of the person. Figures that are compared use the same people, prompts and seeds.
"""

SEED = 900_001
"""Of people and prompts; no training has it."""
