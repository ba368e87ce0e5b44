"""The hosts that make pictures: each has a UNet, samplers and a VAE, and does not depend on identities."""
