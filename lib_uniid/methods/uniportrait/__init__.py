"""UniPortrait (arXiv 2408.05939): identities on Stable Diffusion 1.5, several at once through a router."""
