"""The stand-alone host: Stable Diffusion on diffusers' networks and schedulers."""
