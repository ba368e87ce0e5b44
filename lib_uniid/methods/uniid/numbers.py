"""The numbers that the method decides; the defaults are those of the official ``inference.sh``."""

from lib_uniid.methods.registry import MethodNumber, MethodPreset


def _number(name: str, high: float, value: float) -> MethodNumber:
    return MethodNumber(name=name, low=0.0, high=high, alone=value, together=value)


IDENTITY_SCALE = _number("identity_scale", 2.0, 1.0)
START = _number("merge_start", 1.0, 5 / 30)
TEXT_BEFORE, TEXT_AFTER = _number("text_before", 4.0, 0.5), _number("text_after", 4.0, 1.8)
ADAPTER_BEFORE, ADAPTER_AFTER = _number("adapter_before", 4.0, 0.8), _number("adapter_after", 4.0, 1.2)

NUMBERS = (IDENTITY_SCALE, START, TEXT_BEFORE, TEXT_AFTER, ADAPTER_BEFORE, ADAPTER_AFTER)

FEW_STEPS = MethodPreset(
    name="few-steps",
    title="Few steps (Lightning, Turbo, Hyper, LCM)",
    numbers={"merge_start": 0.5},
)
"""For 4 to 8 steps at CFG scale 1 to 2; measured in docs/decisions/0013-few-steps.md."""
