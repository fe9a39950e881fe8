"""The command diagnose."""

import json

import arviz
import numpy as np
import pytest
import torch

from pyro_exact import cli

pytestmark = pytest.mark.usefixtures("double")


def test_diagnose_command(tmp_path, monkeypatch, capsys):
    torch.set_default_dtype(torch.float32)
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 2, (60, 4, 4), dtype=np.uint8)
    np.savez("toy.npz", train=images[:40], test=images[40:], levels=2)
    (tmp_path / "mine.yaml").write_text(
        "data: toy.npz\nmodel: {name: dense_vae, latent_dim: 2, hidden_dims: [5], flow: planar}\n"
        "training: {steps: 3, batch_size: 8, elbo: {anneal: kl, steps: 2}}\n"
    )
    cli.main(["train", "mine.yaml", "--out", "out", "--training.elbo.anneal", "energy"])
    cli.main(["diagnose", "out/checkpoint.ckpt", "--n", "10", "--k", "200", "--out", "seen"])
    printed = capsys.readouterr().out
    assert "bound of   200 samples" in printed
    record = json.loads((tmp_path / "seen/diagnosis.json").read_text())
    assert record["verdict"] in printed
    assert (record["data"], record["samples"], record["units"]) == (10, 200, {"z": 2})
    assert (tmp_path / "seen/diagnosis.png").exists()
    assert arviz.from_netcdf("seen/diagnosis.nc")["constant_data"]["pareto_k"].shape == (10,)
    with pytest.raises(SystemExit):
        cli.main(["diagnose", "out/checkpoint.ckpt", "--n", "100"])
    assert (
        "--n expects at most 20, because the split test of toy has 20 rows; got 100"
        in capsys.readouterr().err
    )
