"""UniPortrait (arXiv 2408.05939): identities on Stable Diffusion 1.5, several at once through a router."""

from lib_uniid.bases import SD15

BASE = SD15
"""The family that its weights are for."""
