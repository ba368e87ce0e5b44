"""Losses, dropping and soft routing for training an adapter."""
