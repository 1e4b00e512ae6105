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
    """Returns the model of `config.init_from`, None if the field is empty.

    Raises:
        PromptError: the directory holds no model, or a model of another method; or the method
            computes its prompts from images.
    """
    if not config.init_from:
        return None
    if method.adaptation:
        raise PromptError(
            f"config.init_from={config.init_from}: {config.method} is computed from its "
            "training images and cannot start from prompts; omit it"
        )
    try:
        start = saved.read(pathlib.Path(config.init_from))
    except PromptError as error:
        raise PromptError(f"config.init_from: {error}") from error
    if start.method != config.method:
        raise PromptError(
            f"config.init_from={config.init_from} holds prompts of {start.method}, but "
            f"config.method={config.method}; start from a run of the same method"
        )
    return start


def check_backbone(config: Config, start: Saved, fingerprint: str) -> None:
    """Raises a PromptError if the prompts belong to another backbone."""
    if start.backbone_hash != fingerprint:
        raise PromptError(
            f"config.init_from={config.init_from} was trained on another backbone, "
            f"{start.backbone} ({start.backbone_hash[:8]}), than config.backbone="
            f"{config.backbone} ({fingerprint[:8]}); prompts are not transferable between backbones"
        )


def preprocessing_notes(start: Saved | None, prepared: Preprocessing) -> list[str]:
    """Returns a note if the model was trained with different preprocessing, else an empty list."""
    if start is None or start.inputs.preprocessing == prepared:
        return []
    before = start.inputs.preprocessing.describe(start.inputs.image_size)
    return [f"the prompts of config.init_from were trained with different preprocessing: {before}"]


def initial_prompts(
    config: Config, method: Method, start: Saved, task: methods.Task, known: Classes
) -> Prompts:
    """Returns a checked copy of a model's prompts as initial prompts.

    Args:
        config, method: config and method of the run.
        start: the model; see `read`.
        task: training task.
        known: training classes.

    Raises:
        PromptError: shapes or classes differ, or the method has no prompts.
    """
    like = jax.eval_shape(method.init, jax.random.key(0), task)
    if not like:
        raise PromptError(
            f"config.init_from={config.init_from}: {config.method} has no prompts; omit it"
        )
    here, there = _shapes(like), _shapes(start.prompts)
    if wrong := [name for name in {**here, **there} if here.get(name) != there.get(name)]:
        differ = _setting_differences(config.settings, start.settings)
        raise PromptError(
            f"config.init_from={config.init_from} holds prompts of other shapes: {wrong[0]} is "
            f"{there.get(wrong[0], 'missing')} there, {here.get(wrong[0], 'missing')} here"
            f"{f' ({differ})' if differ else ''}; give both the same settings and frames"
        )
    own = method.own_classes_only(task.settings)
    found = find(Classes(start.class_names, start.class_ids), known)
    if own and found != list(range(len(start.class_names))):
        other = next((n for n, label in zip(known.names, found, strict=True) if label < 0), "")
        what = f"{other!r} is not one of them" if other else "their number or order differs"
        raise PromptError(
            f"config.init_from={config.init_from} has prompts for each of the "
            f"{len(start.class_names)} classes it was trained on, but {what} here; train on the "
            "same classes, or start from prompts that are shared by all classes"
        )
    # Copied, because training donates its initial prompts.
    return jax.tree.map(jnp.array, start.prompts)


def _shapes(prompts: Prompts) -> dict[str, str]:
    arrays = flax.traverse_util.flatten_dict(prompts, sep=".")
    return {name: f"{array.dtype}{list(array.shape)}" for name, array in arrays.items()}


def _setting_differences(here: Mapping[str, Any], there: Any) -> str:
    return "; ".join(
        f"settings.{name}: {there.get(name)!r} there, {here.get(name)!r} here"
        for name in sorted({*here, *there})
        if here.get(name) != there.get(name)
    )
