"""Where pictures are made: each host brings a UNet, its samplers and a VAE, and knows nothing of people."""
