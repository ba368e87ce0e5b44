"""What training an adapter needs beside the product's own modules: losses, dropping, soft routing."""
