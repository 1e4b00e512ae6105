"""Runs on bare state dicts request, print and record assumptions; earlier runs resume."""

import dataclasses

import jax
import numpy as np
import pytest
import tiny
from safetensors.numpy import save_file

from experiments.run import evaluating, experiment, reopening
from experiments.run.evaluation_plans import Model, build_config
from experiments.setup import building
from prompt_jax.clip import CLIP
from prompt_jax.clip.checkpoints.layouts import from_tree, openai_layout
from prompt_jax.errors import PromptError
from prompt_jax.models import saved
from prompt_jax.training.sharding import Placement

SIZES = dataclasses.replace(
    tiny.CONFIG, image_width=64, image_heads=1, text_width=64, text_heads=1, embed_dim=16
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Returns a tiny CLIP as a bare state dict."""
    frozen = jax.tree.map(np.asarray, jax.jit(CLIP(SIZES).init)(jax.random.key(0)))
    path = tmp_path_factory.mktemp("clip") / "clip.safetensors"
    save_file(from_tree(openai_layout(2, 2), frozen), path)
    return path


@pytest.fixture
def config(weights):
    """Returns a config of zero-shot CLIP on scenes."""
    return tiny.small_config("zero_shot", weights)


def test_a_run_requests_the_activation_before_it_claims_its_directory(config, tmp_path):
    with pytest.raises(PromptError, match=r"--config.activation=…"):
        experiment.run(config, tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()


def test_assumptions_are_printed_and_recorded(config, tmp_path, capsys):
    config.activation = "quick_gelu"
    results = experiment.run(config, tmp_path)
    assert results["assumed"][0] == (
        "activation: 'quick_gelu', as requested; the file does not state it"
    )
    assert len(results["assumed"]) == 5
    printed = capsys.readouterr().out
    assert all(f"note: {line}" in printed for line in results["assumed"])
    model = saved.read(tmp_path)
    assert model.activation == model.sizes.activation == "quick_gelu"
    assert model.trained["assumed"] == results["assumed"]


def test_a_run_of_an_earlier_version_resumes(config, tmp_path, monkeypatch):
    """It assumed "gelu" if no file stated the activation."""
    build = building.build_backbone
    with monkeypatch.context() as patch:
        patch.setattr(building, "build_backbone", lambda c, *_: build(c, "gelu"))
        results = experiment.run(config, tmp_path)
    assert experiment.run(config, tmp_path) == results
    assert reopening.reopen(tmp_path).backbone.clip.config.activation == "gelu"
    model = Model(tmp_path, saved.read(tmp_path))
    elsewhere = build_config(model, "emoji_scenes", {})
    found = evaluating.Backbones(Placement()).of(elsewhere, model)
    assert found.fingerprint == model.saved.backbone_hash
    (tmp_path / "results.json").unlink()  # like a stopped run
    (tmp_path / "model.json").unlink()
    assert experiment.run(config, tmp_path)["accuracy"] == results["accuracy"]
