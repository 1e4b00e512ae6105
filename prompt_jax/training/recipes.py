"""How each method trains: published rates, epochs and batches, and the optimizer they make.

The configs in experiments/configs say the same of base-to-novel (images) and of few shots
(videos); a test holds the two together.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from prompt_jax.methods import Method, Prompts, of_images
from prompt_jax.training import optim


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a method trains.

    Attributes:
        epochs: passes over the training images.
        batch_size: images per step.
        learning_rate: peak.
        optimizer: "sgd" or "adamw".
        schedule: "coop", "constant", "cosine", "warmup_cosine" or "vifi"; see `optim`.
        cached_views: 0: new crops in every epoch; n: n crops, their image features kept.
        warmup_epochs: vifi: epochs in which the rate grows from 0; 0 if all are fewer.
        momentum: sgd.
        weight_decay: on prompts too.
        adam_epsilon, adam_betas: adamw.
        clip_norm: adamw: longer gradients are scaled to this norm; 0: as they are.
        settings: of the method, where they are not its defaults.
    """

    epochs: int = 5
    batch_size: int = 4
    learning_rate: float = 0.008
    optimizer: str = "sgd"
    schedule: str = "coop"
    cached_views: int = 0
    warmup_epochs: int = 0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    adam_epsilon: float = 1e-8
    adam_betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float = 0.0
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)


ACTIONS = Recipe(
    epochs=30,
    batch_size=64,
    optimizer="adamw",
    schedule="vifi",
    warmup_epochs=5,
    weight_decay=0.001,
    adam_betas=(0.9, 0.98),
)
VOP = dataclasses.replace(ACTIONS, learning_rate=1e-3)

RECIPES: dict[str, Recipe] = {
    "zero_shot": Recipe(),  # nothing trains
    "coop": Recipe(200, 32, 0.002, settings={"context_length": 4, "context_words": "a photo of a"}),
    "cocoop": Recipe(10, 1, 0.002),
    "kgcoop": Recipe(100, 128, 0.002),
    "promptsrc": Recipe(20, 4, 0.0025),
    "clip_adapter": Recipe(200, 32, 1e-5, "adamw", weight_decay=0.0),
    "tip_adapter": Recipe(cached_views=10),
    "tip_adapter_f": Recipe(
        20, 256, 0.001, "adamw", "cosine", cached_views=10, weight_decay=0.01, adam_epsilon=1e-4
    ),
    "gda": Recipe(cached_views=10),
    "vpt": Recipe(learning_rate=0.0025),
    "ivlp": Recipe(learning_rate=0.0035),
    "maple": Recipe(learning_rate=0.0035),
    "pro_mpt": Recipe(),
    "clip_video": ACTIONS,  # nothing trains
    "vilt_independent": ACTIONS,
    "vilt_multimodal": ACTIONS,
    "vilt_clip": ACTIONS,
    "vifi_clip": dataclasses.replace(ACTIONS, epochs=50, learning_rate=2e-6),
    "vifi_vl_prompting": dataclasses.replace(ACTIONS, epochs=50),
    # Its epochs go down with the shots: these are those of 16.
    "a5": Recipe(92, 64, 1e-4, "adamw", "constant", cached_views=10, weight_decay=0.01),
    "vop": VOP,
    "vop_p": VOP,
    "vop_c": VOP,
    "vop_f": VOP,
    "vop_f_p": VOP,
    "vop_f_c": VOP,
}
"""Of methods that are not here, which tell captions apart, no recipe for classes is known."""


def find(name: str) -> Recipe:
    """The recipe of a method; of one without, that of its kind."""
    return RECIPES.get(name, Recipe() if of_images(name) else VOP)


def build_optimizer(
    training: Recipe,
    method: Method,
    prompts: Prompts,
    settings: Any,
    steps_per_epoch: int,
    rate: float | jax.Array | None = None,
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The optimizer of a recipe and its learning rate by step; `rate` in place of the recipe's.

    A config of experiments, which has the same fields, counts as a recipe.
    """
    rate = training.learning_rate if rate is None else rate
    schedule = build_schedule(training, rate, steps_per_epoch)
    trains = method.trains(prompts, settings)
    if training.optimizer == "sgd":
        optimizer = optim.sgd(schedule, trains, training.momentum, training.weight_decay)
    else:
        optimizer = optim.adamw(
            schedule,
            trains,
            training.weight_decay,
            training.adam_epsilon,
            training.adam_betas,
            training.clip_norm or None,
        )
    if method.rates:
        optimizer = optim.scale_rates(optimizer, method.rates(prompts, settings))
    if method.epoch_weights:
        weights = method.epoch_weights(settings, training.epochs)
        optimizer = optim.average_epochs(optimizer, weights, steps_per_epoch)
    return optimizer, schedule


def build_schedule(
    training: Recipe, rate: float | jax.Array, steps_per_epoch: int
) -> optax.Schedule:
    """The learning rate by step."""
    steps = training.epochs * steps_per_epoch
    match training.schedule:
        case "coop":
            return optim.coop_schedule(rate, training.epochs, steps_per_epoch)
        case "constant":
            return lambda step: jnp.full_like(step, rate, jnp.float32)
        case "cosine":
            return optim.cosine_schedule(rate, steps)
        case "vifi":
            warmup = training.warmup_epochs if training.warmup_epochs <= training.epochs else 0
            return optim.vifi_schedule(rate, steps, warmup * steps_per_epoch)
        case _:
            return optim.warmup_cosine_schedule(rate, steps)


def as_config(recipe: Recipe, settings: Any) -> dict[str, Any]:
    """What of a training figures depend on, as model.json has it: "settings.depth" is a setting.

    Args:
        recipe: how it trained.
        settings: of the method, all of them.
    """
    told = dataclasses.asdict(recipe) | {"adam_betas": list(recipe.adam_betas)}
    del told["settings"]
    own = dataclasses.asdict(settings)
    return told | {f"settings.{name}": value for name, value in own.items()}


def count_trainable(method: Method, prompts: Prompts, settings: Any) -> int:
    """How many numbers train."""
    trains = jax.tree.leaves(method.trains(prompts, settings))
    leaves = jax.tree.leaves(prompts)
    return sum(leaf.size for leaf, trained in zip(leaves, trains, strict=True) if trained)
