"""The library of enrolled people."""
