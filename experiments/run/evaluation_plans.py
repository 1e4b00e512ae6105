"""Builds config and test set of a finished model for data that it was not trained on."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from data_pipelines import datasets, sampling
from data_pipelines.examples import Dataset
from experiments.config.config import Config
from experiments.config.data import Data
from experiments.configs import default
from experiments.record import identity
from experiments.setup import building, plans, preprocessing, protocols, titles
from experiments.setup.batches import make_batches
from experiments.setup.plans import Plan
from prompt_jax import methods
from prompt_jax.errors import PromptError, unknown
from prompt_jax.inputs.images.preprocessing import Preprocessing
from prompt_jax.models.saved import Saved

HALVES = ("base", "new")
"""Suffixes of a key, after a colon: the class halves of base-to-novel."""
# Config fields that an evaluation accepts; the model defines all others.
FIELDS = (
    "backbone",
    "memory_gb",
    "mesh",
    "shard_frozen",
    "eval_batch_size",
    "texts",
    "data.root",
    "data.title",
    "data.source",
    "data.split_file",
    "data.on_bad_image",
    "data.template",
    "data.ignore_rotation",
    "data.num_classes",
    "data.num_objects",
    "data.train_per_class",
    "data.test_per_class",
    "data.frames",
    "data.test_passes",
    "data.crop",
    "data.views",
    "data.num_threads",
    "data.num_workers",
)


class Model(NamedTuple):
    """A model to test, and its directory."""

    folder: pathlib.Path
    saved: Saved


def build_config(model: Model, key: str, changes: Mapping[str, Any]) -> Config:
    """Returns a config that tests a model on other data, in the same way as in its training run.

    Raises:
        PromptError: the data set is unknown, the model does not support its kind, or a field has
            an invalid value.
    """
    one = model.saved
    by_captions = one.task == "captions"
    of_videos = not methods.of_images(one.method) or by_captions
    config = default.get_config(one.method, "videos" if of_videos else "images", **one.settings)
    config.backbone, config.activation = one.backbone, one.activation
    config.dtype, config.precision = one.dtype, one.precision
    config.protocol = "retrieval" if by_captions else "few_shot"
    name, _ = datasets.split_domain(key)
    if name not in datasets.TABLE:
        raise unknown("data set", name, datasets.TABLE)
    config.data.name = name
    kind = datasets.entry(name).kind
    if kind == "images" and of_videos:
        raise PromptError(
            f"{model.folder}: {one.method} is a video method, and {key} holds images; use a data "
            "set of videos"
        )
    if kind == "videos" and one.kind == "videos":
        data = config.data
        data.frames, data.frame_rule = one.inputs.frames, one.inputs.frame_rule
        data.test_passes = one.inputs.passes
        data.crop = one.inputs.crop
        data.frame_stats = preprocessing.VIFI if one.inputs.stats == preprocessing.VIFI else "clip"
        data.views = 0 if by_captions else one.trained.get("views", 0)
    if method := methods.of_images(one.method):
        config.cached_views = int(method.adaptation is not None)  # needed to build such methods
    # Published data sets define whether EXIF orientation is applied.
    if datasets.accepts(name, "ignore_rotation", changes.get("data.source", "coop")):
        config.data.ignore_rotation = not one.inputs.upright
    config.update_from_flattened_dict(dict(changes))
    return building.check(config)


def build_plan(config: Config, key: str, image_size: int, prepared: Preprocessing) -> Plan:
    """Returns the plan of one test set, without training data; `prepared` is the preprocessing.

    Raises:
        DataError: data is missing or malformed.
        PromptError: a retrieval model needs captions, and the data set has none.
    """
    dataset = load_part(config.data, key, image_size)
    title = titles.title_of(config.data, key)
    by_captions = config.protocol_spec.by_captions
    if by_captions:
        protocols.refuse_without_captions(dataset)
    else:
        dataset = plans.without_captions(dataset)
    nothing = dataclasses.replace(dataset, train=(), val=())
    tests = {title: dataset}
    return Plan(
        nothing,
        tests,
        identity.of_images(nothing, tests),
        make_batches(config, image_size, dataset.kind, prepared),
        by_captions=by_captions,
        given_title=title,
    )


def load_part(data: Data, key: str, image_size: int) -> Dataset:
    """Returns a data set, one of its domains, or half of its classes ("name:base", "name:new").

    Published lists of halves are domains, e.g. "novel".
    """
    whole, _, half = key.rpartition(":")
    if half not in HALVES or not whole or datasets.has_published_parts(key):
        return plans.load_dataset(data, key, image_size)
    halves = sampling.base_and_new(plans.load_dataset(data, whole, image_size))
    return dataclasses.replace(halves[HALVES.index(half)], name=key)
