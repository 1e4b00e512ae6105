"""From a config to its parts: backbone, method, data. Every mistake in a config is met here."""

import dataclasses
import hashlib
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from data_pipelines import datasets, pictures, sampling
from data_pipelines.examples import Dataset, Example
from prompt_jax import methods
from prompt_jax.clip import CLIP, Frozen, loading
from prompt_jax.errors import PromptError, unknown

PROTOCOLS = ("base_to_novel",)
DTYPES = ("float32", "bfloat16")
AT_LEAST_ONE = ("batch_size", "eval_batch_size", "epochs", "log_every", "checkpoint_every")
SCENE_OPTIONS = ("domain", "num_classes", "test_per_class")


def check(config: ConfigDict) -> None:
    """Refuses values outside their range, before anything is loaded.

    Raises:
        PromptError: names the field, what it holds and what is allowed.
    """
    for field, choices in {
        "protocol": PROTOCOLS,
        "dtype": DTYPES,
        "data.on_bad_image": ("stop", "skip"),
    }.items():
        value = _get(config, field)
        if value not in choices:
            raise unknown(f"value of config.{field}:", str(value), choices)
    for field in AT_LEAST_ONE:
        if config[field] < 1:
            raise PromptError(f"config.{field}={config[field]} must be at least 1")
    if not 0 < config.learning_rate < math.inf:
        raise PromptError(f"config.learning_rate={config.learning_rate} must be a number above 0")
    if not 0 <= config.momentum < 1:
        raise PromptError(f"config.momentum={config.momentum} must be at least 0 and below 1")
    if not 0 <= config.weight_decay < math.inf:
        raise PromptError(f"config.weight_decay={config.weight_decay} must be a number, 0 or more")
    if not config.backbone:
        raise PromptError('config.backbone is empty: give "embedded", a folder, a file or a name')
    if config.data.name not in datasets.TABLE:
        raise unknown("data set", config.data.name, datasets.TABLE)
    if not 0 <= config.seed < 2**32:
        raise PromptError(f"config.seed={config.seed} must be from 0 to 2^32 - 1")
    if config.data.num_threads < -1:
        raise PromptError(f"config.data.num_threads={config.data.num_threads} must be -1 or more")


def _get(config, path):
    for key in path.split("."):
        config = config[key]
    return config


def build_method(config: ConfigDict) -> tuple[methods.Method, Any]:
    """The method and its `Settings` from `config.method` and `config.settings`."""
    method = methods.get(config.method)
    known = {field.name for field in dataclasses.fields(method.Settings)}
    wrong = sorted(set(config.settings) - known)
    if wrong:
        raise PromptError(
            f"config.settings has {', '.join(wrong)}, which {config.method} does not know; its "
            f"settings are {', '.join(sorted(known)) or 'none'}. Use "
            f"--config=experiments/configs/{config.method}.py"
        )
    missing = sorted(known - set(config.settings))
    if missing:
        raise PromptError(
            f"config.settings lacks {', '.join(missing)}, which {config.method} needs. Use "
            f"--config=experiments/configs/{config.method}.py"
        )
    return method, method.Settings(**config.settings.to_dict())


class Backbone(NamedTuple):
    """A loaded CLIP: what computes, its parameters, and a short hash of sizes and parameters."""

    clip: CLIP
    frozen: Frozen
    fingerprint: str


def build_backbone(config: ConfigDict) -> Backbone:
    """Loads `config.backbone`."""
    sizes, frozen = loading.load(config.backbone, config.activation or None)
    clip = CLIP(sizes, jnp.dtype(config.dtype))
    digest = hashlib.sha256(repr(sizes).encode())
    for path, array in jax.tree.leaves_with_path(frozen):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(array).data)
    return Backbone(clip, jax.tree.map(jnp.asarray, frozen), digest.hexdigest()[:16])


class Halves(NamedTuple):
    """A base-to-novel task: few shots of the base classes, tests of both halves."""

    base: Dataset
    new: Dataset
    bad: list[tuple[str, str]]

    @property
    def used(self) -> tuple[Example, ...]:
        """All examples that a run reads."""
        return (*self.base.train, *self.base.test, *self.new.test)


def build_data(config: ConfigDict, image_size: int) -> Halves:
    """Loads the lists of `config.data`, draws the shots over all classes, splits the classes.

    Pictures that are missing or, under on_bad_image=skip, unreadable are found here.
    """
    options: dict[str, Any] = {}
    if config.data.name == "emoji_scenes":
        options = {name: config.data[name] for name in SCENE_OPTIONS if config.data[name]}
        # A tower of larger pictures gets scenes that are enlarged: 96 pixels is the largest.
        options["size"] = min(max(image_size, 32), 96)
    elif any(config.data[name] for name in SCENE_OPTIONS):
        given = [name for name in SCENE_OPTIONS if config.data[name]]
        raise PromptError(
            f"config.data.{given[0]} is for emoji_scenes only, and config.data.name is "
            f"{config.data.name!r}: leave it out"
        )
    dataset = datasets.load(config.data.name, config.data.root or None, **options)
    base, new = sampling.base_and_new(sampling.few_shot(dataset, config.data.shots, config.seed))
    halves = Halves(base, new, [])
    if config.data.on_bad_image == "stop":
        pictures.check_files(dataset, halves.used)
    else:
        halves = without_bad(base, new)
    for kind, left in {
        "training pictures of the base classes": halves.base.train,
        "test pictures of the base classes": halves.base.test,
        "test pictures of the new classes": halves.new.test,
    }.items():
        if not left:
            reason = "all of them are unreadable" if halves.bad else "its split lists none"
            raise PromptError(f"{dataset.name} has no {kind}: {reason}")
    return halves


def without_bad(base: Dataset, new: Dataset) -> Halves:
    """The halves without their unreadable pictures, and a list of those."""
    base_train, bad = pictures.drop_bad(base, base.train)
    base_test, bad_base = pictures.drop_bad(base, base.test)
    new_test, bad_new = pictures.drop_bad(new, new.test)
    return Halves(
        dataclasses.replace(base, train=base_train, test=base_test),
        dataclasses.replace(new, test=new_test),
        [*bad, *bad_base, *bad_new],
    )
