"""Identity in the UNet's attention: mathematics, weights, the plan of a generation, injection."""
