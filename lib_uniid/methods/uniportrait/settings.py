"""What the method decides of a person's numbers."""

from lib_uniid.methods.registry import MethodNumber

IDENTITY_SCALE = MethodNumber(name="identity_scale", low=0.0, high=2.0, alone=0.7, together=0.7)
STRUCTURE_SCALE = MethodNumber(name="structure_scale", low=0.0, high=2.0, alone=0.1, together=0.3)
"""The defaults of both are those of the official demo."""
