"""MoCoOp as its code trains it: with the LayerNorms of the image tower's blocks (Du et al., 2024).

The abstract does not mention them. `mocoop` keeps the image tower frozen.
"""

import dataclasses
from typing import Any

import jax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from prompt_jax.clip.layers import copy_arrays, merge
from prompt_jax.errors import PromptError
from prompt_jax.methods.images import mocoop
from prompt_jax.methods.method import Images, Output, Prompts, Task
from prompt_jax.methods.record import Record


@dataclasses.dataclass(frozen=True)
class Settings(mocoop.Settings):
    """MoCoOp's settings, and one of the LayerNorms.

    Attributes:
        norm_rate: factor of the LayerNorms' learning rate, at least 0.
    """

    norm_rate: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm_rate < 0:
            raise PromptError(f"settings.norm_rate={self.norm_rate} must be at least 0")


def init(rng: PRNGKeyArray, task: Task) -> dict[str, Any]:
    """Returns the prompts of `mocoop`, and {"norms": {"image": copies of the backbone's}}."""
    return {**mocoop.init(rng, task), "norms": copy_arrays(task.frozen, _is_norm_of_block)}


def _is_norm_of_block(path: tuple[str, ...]) -> bool:
    return path[0] == "image" and path[-2] in ("ln_1", "ln_2")


def trains(prompts: Prompts, settings: Settings) -> Prompts:
    """Returns the factors of the learning rate."""
    rates = {name: settings.norm_rate if name == "norms" else 1.0 for name in prompts}
    return {name: jax.tree.map(lambda _, r=rates[name]: r, one) for name, one in prompts.items()}


def encode(prompts: Prompts, task: Task, images: Images) -> Float[Array, "batch dim"]:
    """Encodes images with the trained LayerNorms; the features are not normalized."""
    return task.clip.encode_image(merge(task.frozen, prompts["norms"]), images)


def forward(
    prompts: Prompts, prepared: Float[Array, "experts classes dim"], task: Task, images: Images
) -> Output:
    """Computes the same as `mocoop.forward`, of images."""
    return mocoop.forward(prompts, prepared, task, encode(prompts, task, images))


def learn(
    prompts: Prompts,
    prepared: Float[Array, "experts classes dim"],
    task: Task,
    images: Images,
    labels: Int[Array, " batch"],
    rng: PRNGKeyArray,
) -> Output:
    """Computes the same as `mocoop.learn`, of images."""
    return mocoop.learn(prompts, prepared, task, encode(prompts, task, images), labels, rng)


METHOD = mocoop.METHOD._replace(
    Settings=Settings,
    init=init,
    forward=forward,
    learn=learn,
    input="images",
    trains=trains,
    copies_weights=True,
)

RECORD = Record(
    "mocoop_norms",
    "MoCoOp with LayerNorms of the image tower",
    mocoop.RECORD.paper,
    (2024, 9, 1),
    METHOD,
    mocoop.RECORD.recipes,
    "both",
    texts=mocoop.RECORD.texts,
)
