"""Starts training from another run's prompts, `config.init_from`."""

import pathlib
from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp

from experiments.config.config import Config
from prompt_jax import methods
from prompt_jax.errors import PromptError
from prompt_jax.inputs.images.preprocessing import Preprocessing
from prompt_jax.methods import Method, Prompts
from prompt_jax.models import saved
from prompt_jax.models.saved import Saved
from prompt_jax.text.class_names import Classes, find


def read(config: Config, method: Method) -> Saved | None:
    """Returns the model whose prompts a run starts from, None if there is none.

    Raises:
        PromptError: the folder holds none, or another method's; or the method starts from none.
    """
    if not config.init_from:
        return None
    if method.adaptation:
        raise PromptError(
            f"config.init_from={config.init_from}: {config.method} is computed from its "
            "training images and cannot start from prompts; leave it out"
        )
    try:
        start = saved.read(pathlib.Path(config.init_from))
    except PromptError as error:
        raise PromptError(f"config.init_from: {error}") from error
    if start.method != config.method:
        raise PromptError(
            f"config.init_from={config.init_from} holds prompts of {start.method}, and config."
            f"method={config.method}; start from a run of the same method"
        )
    return start


def check_backbone(config: Config, start: Saved, fingerprint: str) -> None:
    """Raises a PromptError for prompts of another backbone."""
    if start.backbone_hash != fingerprint:
        raise PromptError(
            f"config.init_from={config.init_from} was trained on another backbone, "
            f"{start.backbone} ({start.backbone_hash[:8]}), than config.backbone="
            f"{config.backbone} ({fingerprint[:8]}); prompts are not transferable between backbones"
        )


def differing(start: Saved | None, prepared: Preprocessing) -> list[str]:
    """Returns a note if the model was trained with another preprocessing."""
    if start is None or start.inputs.preprocessing == prepared:
        return []
    before = start.inputs.preprocessing.describe(start.inputs.image_size)
    return [f"the prompts of config.init_from were trained with another preprocessing: {before}"]


def put(
    config: Config, method: Method, start: Saved, task: methods.Task, known: Classes
) -> Prompts:
    """Returns a model's prompts, checked and copied, to start training from.

    Args:
        config, method: of the run.
        start: the model; see `read`.
        task: of the training.
        known: the training classes.

    Raises:
        PromptError: their shapes or classes differ, or the method has none.
    """
    like = jax.eval_shape(method.init, jax.random.key(0), task)
    if not like:
        raise PromptError(
            f"config.init_from={config.init_from}: {config.method} has no prompts; leave it out"
        )
    here, there = _shapes(like), _shapes(start.prompts)
    if wrong := [name for name in {**here, **there} if here.get(name) != there.get(name)]:
        differ = _differing(config.settings, start.settings)
        raise PromptError(
            f"config.init_from={config.init_from} holds prompts of other shapes: {wrong[0]} is "
            f"{there.get(wrong[0], 'not')} there, {here.get(wrong[0], 'not')} here"
            f"{f' ({differ})' if differ else ''}; give both the same settings and frames"
        )
    own = method.own_classes_only(task.settings)
    found = find(Classes(start.class_names, start.class_ids), known)
    if own and found != list(range(len(start.class_names))):
        other = next((n for n, label in zip(known.names, found, strict=True) if label < 0), "")
        what = f"{other!r} is none of them" if other else "their number or order differs"
        raise PromptError(
            f"config.init_from={config.init_from} has prompts for each of the "
            f"{len(start.class_names)} classes it was trained on, and {what} here; train on the "
            "same classes, or start from prompts that all classes share"
        )
    # Copied, as training donates its first prompts.
    return jax.tree.map(jnp.array, start.prompts)


def _shapes(prompts: Prompts) -> dict[str, str]:
    arrays = flax.traverse_util.flatten_dict(prompts, sep=".")
    return {name: f"{array.dtype}{list(array.shape)}" for name, array in arrays.items()}


def _differing(here: Mapping[str, Any], there: Any) -> str:
    return "; ".join(
        f"settings.{name}: {there.get(name)!r} there, {here.get(name)!r} here"
        for name in sorted({*here, *there})
        if here.get(name) != there.get(name)
    )
