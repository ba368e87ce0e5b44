"""Figures about pictures and people."""
