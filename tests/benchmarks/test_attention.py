"""Tests of the attention benchmark: both forms compute the same, and the figures have their names."""

import json

import pytest
import torch
from torch import Tensor

from benchmarks.attention import NARROW, Bench, main
from lib_uniid.attention import lora


def test_the_textbook_form_computes_what_the_plan_computes():
    with torch.no_grad():
        bench = Bench(NARROW, torch.float64, "cpu")
        for parameter in bench.adapter.parameters():
            parameter.copy_(0.2 * torch.randn_like(parameter))
        plain = bench.step()
        with bench.injection(2)():
            ours = bench.step()
        with bench.textbook(2)():
            theirs = bench.step()
    assert not torch.allclose(ours, plain, atol=1e-2)
    torch.testing.assert_close(ours, theirs, rtol=0.0, atol=1e-4)


def test_the_plain_step_that_others_are_compared_with_has_gone_through_a_merge_and_is_the_same_step(
    monkeypatch: pytest.MonkeyPatch,
):
    written: list[Tensor] = []
    overwrite = lora.overwrite

    def seen(weight: Tensor, values: Tensor) -> None:
        written.append(weight)
        overwrite(weight, values)

    monkeypatch.setattr(lora, "overwrite", seen)
    with torch.no_grad():
        bench = Bench(NARROW, torch.float32, "cpu")
        untouched = bench.step()
        with bench.plain()():
            assert len(written) == sum(len(site.projections) for site in bench.sites)
            assert torch.equal(bench.step(), untouched)


@pytest.mark.slow
def test_a_narrow_run_names_its_figures_and_has_no_targets(capsys: pytest.CaptureFixture[str]):
    assert main(["--narrow", "--json", "--pairs", "1"]) == 0
    found = {figure["name"]: figure for figure in map(json.loads, capsys.readouterr().out.splitlines())}
    several = [f"{kind}people={count}" for kind in ("untrained/", "own-words/") for count in (2, 4)]
    variants = ("people=1", "people=2", "people=4", "textbook/people=2", *several)
    paths = {
        f"attention/narrow/{variant}/{kind}" for variant in variants for kind in ("ratio", "flops_ratio")
    }
    assert found.keys() == paths | {
        "attention/narrow/plain",
        "attention/narrow/plain-again/ratio",
        "attention/narrow/untouched/ratio",
    }
    assert all(figure["target"] is None for figure in found.values())
    cheap, textbook = (
        found[f"attention/narrow/{kind}people=2/flops_ratio"]["value"] for kind in ("", "textbook/")
    )
    assert 1.0 < cheap < textbook


@pytest.mark.slow
def test_a_narrow_run_of_sdxl_names_its_figures_and_counts_the_memory_of_the_full_size(
    capsys: pytest.CaptureFixture[str],
):
    assert main(["--base", "sdxl", "--narrow", "--json", "--pairs", "1"]) == 0
    found = {figure["name"]: figure for figure in map(json.loads, capsys.readouterr().out.splitlines())}
    variants = ("people=1", "people=4", "masks/people=4", "unscaled/people=1")
    timed = {f"attention/sdxl-narrow/{one}/{kind}" for one in variants for kind in ("ratio", "flops_ratio")}
    held = {f"attention/sdxl/{one}/held" for one in ("people=1", "people=4", "masks/people=4")}
    names = ("plain", "plain-again/ratio")
    assert found.keys() == timed | held | {f"attention/sdxl-narrow/{one}" for one in names}
    assert found["attention/sdxl/people=1/held"]["value"] == pytest.approx(16.64)
    assert all(found[name]["holds"] for name in held)
    assert all(found[name]["target"] is None for name in found.keys() - held)
