"""What training an identity adapter needs beside the product's own modules: losses, dropping, soft routing."""
