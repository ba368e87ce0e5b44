"""Train a part of earlier results further, on one processor core.

    python -m miniature.sdxl.further shirts --begin runs/sdxl --out runs/shirts
    python -m miniature.sdxl.further adapter --begin runs/sdxl --out runs/adapter

A step of 16 pictures takes about 1.5 s. Without results in ``--begin`` those that came with the repository
are taken (``assemble.unpack``). ``--out`` has all results in the end; ``python -m miniature.sdxl.assemble``
takes them.
"""

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from miniature.sdxl.assemble import unpack
from miniature.sdxl.base import error, first_of
from miniature.sdxl.branches import (
    Stage,
    drawn,
    earlier_adapter,
    earlier_base,
    face_tokens,
    name_tokens,
    train_adapter_further,
)
from miniature.sdxl.networks import new_text_branch, with_names
from miniature.sdxl.pictures import SHARES
from miniature.sdxl.results import copy, exists, load, save
from miniature.sdxl.steps import Batch, Course, Rate

SEED = 181
LATE = 0.6
"""Large parts get their colours in the noisy steps."""
SAVED = 120.0
"""Seconds between checkpoints."""
COURSES = ("shirts", "adapter")


def train_shirts(stage: Stage, begin: Path, out: Path, seconds: float, steps: int | None) -> None:
    """The text models, and the keys and values of the text, learn captions of shirts.

    "Red" is a colour of hair and of shirts in this world. Queries and outputs stay: people use them, too.
    """
    base = stage.base
    branch, projections = earlier_adapter(begin, base)
    names = new_text_branch()
    names.load_state_dict(load(begin, "text_branch"))
    base.attach(projections)
    for module in (branch, projections, names):
        module.requires_grad_(False)

    def loss(batch: Batch) -> Mapping[str, Tensor]:
        states, pooled = base.states(batch["texts"], batch["texts_2"], batch["ends"])
        with torch.no_grad():
            told = name_tokens(names, *(first_of(batch[n], batch["x"]) for n in ("embedding", "deep")))
            tokens = face_tokens(branch, batch["shallow"], batch["deep"])
        reading = base.reading
        reading.tokens, reading.gate = tokens, batch["gate"]
        reading.x, reading.maps = batch["x"], {}
        states = with_names(states, told, batch["named"])
        predicted = base.predict(batch["noisy"], batch["times"], states, pooled, batch["time_ids"])
        return {"loss": error(predicted, batch)}

    Course(
        module=base,
        rates=[Rate(part=r"text|unet\..*\.attn2\.to_[kv]\.", rate=1e-3)],
        loss=loss,
        batches=stage.batches(SEED + 1, late=LATE),
        log=stage.log,
        name="shirts",
        seconds=seconds,
        steps=steps,
        average=0.99,
        keep=lambda state: save(state, out, "base"),
        every=SAVED,
    ).run()
    save(base.state_dict(), out, "base")


def train_adapter(stage: Stage, begin: Path, out: Path, seconds: float, steps: int | None) -> None:
    """The adapter branch learns by the base's error."""
    branch, projections = earlier_adapter(begin, stage.base)
    train_adapter_further(stage, branch, projections, seconds, steps)
    both = nn.ModuleDict({"branch": branch, "projections": projections})
    save(both.state_dict(), out, "adapter_branch")


def main() -> int:
    """Train one part."""
    options = _parse()
    begin, out = options.begin, options.out
    if not exists(begin, "base"):
        unpack(begin)
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    began = time.monotonic()
    copy(begin, out)
    shirts = options.course == "shirts"
    pictures, features = drawn(
        begin, out / f"{options.course}-pictures.pt", options.pictures, SEED, SHARES, shirts
    )
    sys.stderr.write(f"{len(pictures)} pictures after {time.monotonic() - began:.0f} s\n")
    stage = Stage(earlier_base(begin), pictures, features, out / "log.jsonl", options.batch)
    train = train_shirts if shirts else train_adapter
    train(stage, begin, out, options.minutes * 60, options.steps)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("course", choices=COURSES)
    parser.add_argument("--begin", type=Path, default=Path("runs/sdxl"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30.0, help="of training, beside drawing")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--pictures", type=int, default=4000)
    parser.add_argument("--steps", type=int, help="instead of the minutes")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
