"""Shape-annotated array types.

With jaxtyping installed these are its types, checked under pytest; a WebUI need not have it, and then the
annotations are plain names that cost nothing.

Axis letters: ``b`` batch rows, ``i`` identity, ``n`` image tokens, ``t`` text tokens, ``k`` identity tokens,
``h`` heads, ``c`` channels per head, ``d`` channels.
"""

try:
    from jaxtyping import Bool, Float, Float32, Int, UInt8
except ImportError:

    class _Unchecked:
        """Stands in for a jaxtyping type: ``Float[Tensor, "b d"]`` is just ``Tensor``."""

        def __class_getitem__(cls, item: tuple[type, str]) -> type:
            return item[0]

    Bool = Float = Float32 = Int = UInt8 = _Unchecked

__all__ = ["Bool", "Float", "Float32", "Int", "UInt8"]
