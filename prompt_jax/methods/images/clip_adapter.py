"""CLIP-Adapter: a bottleneck after the frozen image tower (Gao et al., IJCV 2024)."""

import dataclasses

import jax
from jaxtyping import Array, Float, PRNGKeyArray

from prompt_jax.clip import normalize
from prompt_jax.errors import PromptError
from prompt_jax.methods.method import (
    Method,
    Output,
    Prompts,
    Task,
    cosine_logits,
    describe_classes,
    one,
)
from prompt_jax.methods.recipe import Recipe
from prompt_jax.methods.record import Record, dataset_text
from prompt_jax.prompts import init_linear, multiply


@dataclasses.dataclass(frozen=True)
class Settings:
    """CLIP-Adapter's settings.

    Attributes:
        ratio: weight of the adapter's output in the mixed feature, 0 to 1.
        reduction: the width of the hidden layer is d / reduction, at least 1.
    """

    ratio: float = 0.2
    reduction: int = 4

    def __post_init__(self) -> None:
        if not 0 <= self.ratio <= 1:
            raise PromptError(f"settings.ratio={self.ratio} must lie between 0 and 1")
        if self.reduction < 1:
            raise PromptError(f"settings.reduction={self.reduction} must be at least 1")


def init(rng: PRNGKeyArray, task: Task) -> dict[str, Array]:
    """Draws {"linear1": float32[d, d/4], "linear2": float32[d/4, d]} as PyTorch's layers do."""
    width = task.clip.config.embed_dim
    hidden = max(width // task.settings.reduction, 1)
    first, second = jax.random.split(rng)
    return {
        "linear1": init_linear(first, width, hidden)["kernel"],
        "linear2": init_linear(second, hidden, width)["kernel"],
    }


def forward(
    prompts: Prompts, prepared: None, task: Task, features: Float[Array, "batch dim"]
) -> Output:
    """Mixes the adapter's output into the feature before normalization."""
    del prepared
    ratio = task.settings.ratio
    hidden = jax.nn.relu(multiply(features, prompts["linear1"]))
    adapted = jax.nn.relu(multiply(hidden, prompts["linear2"]))
    mixed = ratio * adapted + (1 - ratio) * features
    return Output(cosine_logits(task, normalize(mixed), task.constants)[None])


METHOD = Method(
    Settings, init, forward, input="features", constants=describe_classes, spare_from=one
)

# Learning rate, batch size and Adam as published; epochs and schedule are CoOp's for 16 shots.
RECORD = Record(
    "clip_adapter",
    "CLIP-Adapter",
    'Gao et al., "CLIP-Adapter: Better Vision-Language Models with Feature Adapters", IJCV 2024',
    (2021, 10),
    METHOD,
    {"base_to_novel": Recipe(200, 32, 1e-5, "adamw", weight_decay=0.0)},
    "features",
    texts=dataset_text,
)
