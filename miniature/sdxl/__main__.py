"""Train the miniature of SDXL: python -m miniature.sdxl --out runs/sdxl [--begin runs/sdxl] [--minutes 11].

It needs a GPU: a processor would take days. Results are written as they are ready. With ``--begin`` the base
goes on from an earlier one, and the recogniser is taken as it is.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
from torch import nn

from lib_uniid.encoders.iresnet import IResNet
from miniature.sdxl import base, branches, pictures, recogniser, router
from miniature.sdxl.networks import Base, new_recogniser
from miniature.sdxl.results import load, save

SHARES = {
    "recogniser": 0.08,
    "base": 0.66,
    "text-alike": 0.02,
    "text": 0.05,
    "adapter-alike": 0.03,
    "adapter": 0.08,
    "router": 0.08,
}
"""Of the time of all courses."""


def main() -> int:
    """Train everything, in order."""
    options = _parse()
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
    torch.manual_seed(base.SEED)
    model = Base().to(device)
    reader = _reader(options, device, log, seconds("recogniser"))
    save(reader.state_dict(), out, "recogniser")
    if options.begin:
        model.load_state_dict(load(options.begin, "base"))
    tell("base")
    seed = base.SEED if options.begin is None else base.SEED + 1000
    base.train(model, drawn, log, seconds("base"), options.batch, options.steps, seed)
    save(model.state_dict(), out, "base")
    tell("features")
    features = branches.read(drawn, reader)
    stage = branches.Stage(model, drawn, features, log, options.batch)
    tell("text branch")
    text = branches.train_text(stage, (seconds("text-alike"), seconds("text")), options.steps)
    save(text.state_dict(), out, "text_branch")
    tell("adapter branch")
    times = seconds("adapter-alike"), seconds("adapter")
    adapter, projections = branches.train_adapter(stage, times, options.steps)
    both = nn.ModuleDict({"branch": adapter, "projections": projections})
    save(both.state_dict(), out, "adapter_branch")
    tell("router")
    routers = router.train(stage, adapter, seconds("router"), options.steps, out)
    save(routers.state_dict(), out, "router")
    tell("done")
    return 0


def _reader(options: argparse.Namespace, device: torch.device, log: Path, seconds: float) -> IResNet:
    if options.begin is None:
        return recogniser.train(device, log, seconds, options.batch, options.steps)
    reader = new_recogniser().to(device).eval()
    reader.load_state_dict(load(options.begin, "recogniser"))
    return reader


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/sdxl"))
    parser.add_argument("--begin", type=Path, help="results of an earlier run to go on from")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--minutes", type=float, default=11.0, help="of all courses, beside drawing")
    parser.add_argument("--pictures", type=int, default=60_000)
    parser.add_argument("--processes", type=int, default=1, help="that imagine scenes")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, help="of every course, instead of its share of the minutes")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
