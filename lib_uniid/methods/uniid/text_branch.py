"""UniID's text branch: the face as tokens among those of the prompt, for both text encoders.

Names of modules and parameters are those of the published ``text_branch`` file, without its prefix.
"""

from collections.abc import Mapping

from einops import rearrange
from torch import Tensor, nn

from lib_uniid.methods.perceiver import HEAD_WIDTH, layers
from lib_uniid.typing import Float
from lib_uniid.weights import load_exactly, shape_of, without_values

PART = "text_branch"


class TextBranch(nn.Module):
    """Tokens of the ID embedding that read the last tap of the recogniser, one set for each text encoder.

    ``reads`` has the channels of both.

    Args:
        embedding: length of the ID embedding, officially 512.
        hidden: width between the two layers that make the tokens, officially 1024.
        tap: channels of the recogniser's last tap, officially 512.
        widths: of the text encoders, officially 768 and 1280.
        tokens: officially 3.
        depth: officially 4.
        heads: per text encoder, officially 12 and 20 of 64 channels.
        mult: how much wider the feed-forward layers are, officially 4.
    """

    def __init__(
        self,
        *,
        embedding: int,
        hidden: int,
        tap: int,
        widths: tuple[int, int],
        tokens: int,
        depth: int,
        head_width: int = HEAD_WIDTH,
        heads: tuple[int, int],
        mult: int,
    ) -> None:
        super().__init__()
        self.tokens, self.widths, self.reads = tokens, widths, (embedding, tap)
        first, second = widths
        self.proj_1 = TokenProjection(embedding, hidden, tokens * first)
        self.proj_2 = TokenProjection(embedding, hidden, tokens * second)
        self.norm_1, self.norm_2 = nn.LayerNorm(first), nn.LayerNorm(second)
        self.text_resampler_1, self.text_resampler_2 = (
            TextResampler(tap=tap, dim=dim, depth=depth, heads=count, head_width=head_width, mult=mult)
            for dim, count in zip(widths, heads, strict=True)
        )

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor], head_width: int = HEAD_WIDTH) -> "TextBranch":
        """Build the branch that these tensors are of; all sizes but the head width are read off them.

        The tensors are taken over, not copied, in their own precision. Raises CheckpointMismatchError naming
        the tensors that are missing, unexpected or of a wrong shape.
        """
        hidden, embedding = shape_of(state, "proj_1.proj.0.weight", PART)
        widths = tuple(shape_of(state, f"norm_{e}.weight", PART, dimensions=1)[0] for e in (1, 2))
        first, second = widths
        heads = tuple(
            shape_of(state, f"text_resampler_{e}.layers.0.0.to_q.weight", PART)[0] // head_width
            for e in (1, 2)
        )
        inner = shape_of(state, "text_resampler_1.layers.0.1.1.weight", PART)[0]
        with without_values():
            branch = cls(
                embedding=embedding,
                hidden=hidden,
                tap=shape_of(state, "text_resampler_1.proj_in.weight", PART)[1],
                widths=(first, second),
                tokens=shape_of(state, "proj_1.proj.2.weight", PART)[0] // first,
                depth=len(
                    {name.split(".")[2] for name in state if name.startswith("text_resampler_1.layers.")}
                ),
                head_width=head_width,
                heads=(heads[0], heads[1]),
                mult=inner // first,
            )
        load_exactly(branch, state, PART)
        return branch

    def forward(
        self, embedding: Float[Tensor, "b e"], tap: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b k d1"], Float[Tensor, "b k d2"]]:
        """The tokens for the first and for the second text encoder."""
        features = rearrange(tap, "b c h w -> b (h w) c")
        first, second = (
            rearrange(projection(embedding), "b (k d) -> b k d", k=self.tokens)
            for projection in (self.proj_1, self.proj_2)
        )
        return (
            self.text_resampler_1(self.norm_1(first), features),
            self.text_resampler_2(self.norm_2(second), features),
        )


class TokenProjection(nn.Module):
    """The ID embedding to the channels of all tokens, one after another."""

    def __init__(self, embedding: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(nn.Linear(embedding, hidden), nn.GELU(), nn.Linear(hidden, outputs))

    def forward(self, embedding: Float[Tensor, "b e"]) -> Float[Tensor, "b o"]:
        return self.proj(embedding)


class TextResampler(nn.Module):
    """Tokens read face features, layer by layer; they enter unprojected."""

    def __init__(
        self,
        *,
        tap: int,
        dim: int,
        depth: int,
        heads: int,
        head_width: int,
        mult: int,
        outputs: int | None = None,
    ) -> None:
        super().__init__()
        outputs = dim if outputs is None else outputs
        self.proj_in = nn.Linear(tap, dim)
        self.layers = layers(depth, reads=1, dim=dim, heads=heads, head_width=head_width, mult=mult)
        self.proj_out = nn.Linear(dim, outputs)
        self.norm_out = nn.LayerNorm(outputs)

    def forward(
        self, tokens: Float[Tensor, "b k d"], features: Float[Tensor, "b t c"]
    ) -> Float[Tensor, "b k o"]:
        features = self.proj_in(features)
        for layer in self.layers:
            read, forward = layer.children()
            tokens = read(features, tokens) + tokens
            tokens = forward(tokens) + tokens
        return self.norm_out(self.proj_out(tokens))
