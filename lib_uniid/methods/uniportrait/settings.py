"""What the method decides of a person's numbers."""

from lib_uniid.methods.registry import MethodNumber

STRUCTURE_SCALE = MethodNumber(name="structure_scale", low=0.0, high=2.0, alone=0.1, together=0.3)
"""The defaults are those of the official demo."""
