"""UniID (arXiv 2512.03964): identities on SDXL through text tokens and through attention in the UNet."""
