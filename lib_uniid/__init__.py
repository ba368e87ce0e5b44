"""UniID: chosen people in pictures made with AUTOMATIC1111, Forge and diffusers.

Importing this package imports nothing else; see ``docs/decisions/0001-packages.md`` for the way through it.
"""

__version__ = "0.1.0"
