"""Train the whole miniature of SDXL: python -m miniature.sdxl --out runs/sdxl [--device cuda] [--minutes 9]."""

import argparse
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from miniature.sdxl import base, branches, pictures, recogniser, router
from miniature.sdxl.networks import Base

SHARES = {
    "recogniser": 0.08,
    "base": 0.62,
    "text-alike": 0.025,
    "text": 0.06,
    "adapter-alike": 0.035,
    "adapter": 0.09,
    "router": 0.09,
}
"""Of the time that all of it may take, beside drawing the pictures."""


MOST = 7_000_000
"""Values in one file of a result."""


def save(state: dict[str, Tensor], out: Path, name: str) -> None:
    """In half precision, in as many files as it takes."""
    parts: list[dict[str, Tensor]] = [{}]
    for key, tensor in state.items():
        if sum(one.numel() for one in parts[-1].values()) > MOST:
            parts.append({})
        parts[-1][key] = tensor.half().cpu() if tensor.is_floating_point() else tensor.cpu()
    for number, part in enumerate(parts):
        torch.save(part, out / f"{name}-{number}.pt")


def main() -> int:
    """Train what is not there yet, in order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/sdxl"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--pictures", type=int, default=120_000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, help="of every course; else each has its share of the minutes")
    options = parser.parse_args()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    log = out / "log.jsonl"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    device, began = torch.device(options.device), time.monotonic()

    def tell(what: str) -> None:
        sys.stderr.write(f"{time.monotonic() - began:.0f} s: {what}\n")

    def seconds(name: str) -> float:
        return SHARES[name] * options.minutes * 60

    tell("imagining")
    imagined = pictures.imagine(options.pictures, options.processes)
    tell("drawing")
    drawn = pictures.render(imagined, device)
    tell(f"{len(drawn)} pictures, deviation {drawn.latents[:2000].float().std():.3f}")
    reader = recogniser.train(
        device, log, seconds("recogniser"), options.batch, options.steps
    )
    save(reader.state_dict(), out, "recogniser")
    torch.manual_seed(base.SEED)
    model = Base().to(device)
    tell("base")
    base.train(model, drawn, log, seconds("base"), options.batch, options.steps)
    save(model.state_dict(), out, "base")
    tell("features")
    features = branches.read(drawn, reader)
    stage = branches.Stage(model, drawn, features, log, options.batch)
    tell("text branch")
    text = branches.train_text(stage, (seconds("text-alike"), seconds("text")), options.steps)
    save(text.state_dict(), out, "text_branch")
    tell("adapter branch")
    adapter, projections = branches.train_adapter(
        stage, (seconds("adapter-alike"), seconds("adapter")), options.steps
    )
    both = nn.ModuleDict({"branch": adapter, "projections": projections})
    save(both.state_dict(), out, "adapter_branch")
    tell("router")
    routers = router.train(stage, adapter, seconds("router"), options.steps)
    save(routers.state_dict(), out, "router")
    tell("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
