"""Plans read the run's factors, make up other texts, and include the labeling of images."""

import json

import jax
import numpy as np
import pytest

from experiments.config.config import Config, read
from experiments.configs import recipes
from experiments.plan import programs, targets
from experiments.plan.compiling import compile_for
from experiments.setup import building, loading
from prompt_jax.clip import VARIANTS
from prompt_jax.clip.loading import load
from prompt_jax.errors import PromptError

TARGET = targets.parse("cpu:1")


def config_of(method: str, **fields) -> Config:
    c = recipes.get_config(method)
    c.batch_size = c.eval_batch_size = 4
    c.update(fields)
    return read(c)


def planned(config: Config, backbone: str = "embedded") -> programs.Run:
    sizes = load("embedded")[0] if backbone == "embedded" else VARIANTS[backbone]
    return programs.describe(config, sizes, TARGET, jax.devices()[:1], classes=3)


def test_the_factors_of_the_run_are_planned():
    config = config_of("perception_clip")
    texts = loading.read_texts(config, building.build_method(config)[0])
    combinations = np.prod([len(values) for _, values in texts.content["factors"]])
    assert combinations > 2
    assert planned(config).task.constants.classes.shape[:2] == (3, combinations)


def test_factors_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "factors.json").write_text(json.dumps([1]))
    config = config_of("perception_clip", texts=str(tmp_path / "factors.json"))
    with pytest.raises(PromptError, match=r"config\.texts: .*factors\.json"):
        planned(config)


def test_the_program_that_labels_images_holds_both_backbones():
    run = planned(config_of("nola"))
    built = dict(programs.build(run))
    assert list(built) == ["training step", "labels", "classes", "evaluation"]
    labels = built["labels"]()
    assert labels.images == 4
    assert labels.held["weights"] > 1.9 * built["evaluation"]().held["weights"]
    found = compile_for(labels)
    assert found.temporaries > 0 and sum(found.costs.flops.values()) > 0


def test_a_second_backbone_of_another_size_is_refused():
    built = dict(programs.build(planned(config_of("nola"), "ViT-B/16")))
    with pytest.raises(PromptError, match="embedded takes images of 48 x 48 pixels"):
        built["labels"]()
