"""GOPro: a context shifted by the statistics of all layers (Singha et al., BMVC 2023).

As in CoCoOp, each image has its own context, and all classes are encoded for each image. The shift
is a learned sum over the layers of the frozen image tower, of linear maps of the means ("content")
and deviations ("style") of their tokens. Text features of two further views of a training image
are drawn towards its own.

The published code makes its views of images that are normalized already, and the AugMix views of a
batch all of its first image; ours are made of each image before it is normalized. Published figures
are those of the best epoch on the test set, so measured ones cannot be compared with them.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from prompt_jax.clip import normalize
from prompt_jax.errors import PromptError
from prompt_jax.mesh import replicate
from prompt_jax.methods.inputs import Statistics, Views, split_statistics
from prompt_jax.methods.method import Method, Output, Prompts, Task, cosine_logits
from prompt_jax.methods.recipe import Recipe
from prompt_jax.methods.record import SHIFTED, Published, Record, halves
from prompt_jax.prompts import encode_classes, init_context, init_generator, init_linear, multiply

VIEWS = ("recipe", "crop_color", "augmix")
"""The image itself, and the two that its text features are compared with."""

BATCH_NORM_EPSILON = 1e-5


@dataclasses.dataclass(frozen=True)
class Settings:
    """GOPro's settings.

    Attributes:
        context_length: number of context vectors M.
        context_words: words whose embeddings initialize the last vectors; "" draws all at random.
        views_weight: weight of the mean squared difference between the text features of an image
            and those of each of its two views, at least 0.
        contrast_weight: weight of the contrastive loss, at least 0. It only reaches a projector of
            image features that the prediction does not use; 0 changes no prediction.
        temperature: τ of the contrastive loss, above 0.
    """

    context_length: int = 4
    context_words: str = "a photo of a"
    views_weight: float = 1.0
    contrast_weight: float = 0.1
    temperature: float = 0.1

    def __post_init__(self) -> None:
        for name in ("views_weight", "contrast_weight"):
            if not getattr(self, name) >= 0:
                raise PromptError(f"settings.{name}={getattr(self, name)} must be at least 0")
        if not self.temperature > 0:
            raise PromptError(f"settings.temperature={self.temperature} must be above 0, e.g. 0.1")


def init(rng: PRNGKeyArray, task: Task) -> dict[str, Any]:
    """Draws the context, the maps of the statistics, and the parts that only training uses.

    Returns:
        {"context": float32[M, d_l]; "style", "content": a linear layer d_v → d_l for each of the L
        layers; "mix": their weights, a linear layer L → 1; "projector": Linear d → d and batch
        normalization; "meta_net": CoCoOp's, which the published code builds and never uses}. Linear
        layers are initialized as in PyTorch.
    """
    s, sizes = task.settings, task.clip.config
    rngs = jax.random.split(rng, 6)
    context = init_context(rngs[0], task.clip, task.frozen, s.context_length, s.context_words)

    def layers(rng: PRNGKeyArray) -> dict[str, Array]:
        each = jax.random.split(rng, sizes.image_layers)
        return jax.vmap(lambda one: init_linear(one, sizes.image_width, sizes.text_width))(each)

    normalization = {"scale": jnp.ones(sizes.embed_dim), "offset": jnp.zeros(sizes.embed_dim)}
    return {
        "context": context,
        "style": layers(rngs[1]),
        "content": layers(rngs[2]),
        "mix": init_linear(rngs[3], sizes.image_layers, 1),
        "projector": init_linear(rngs[4], sizes.embed_dim, sizes.embed_dim) | normalization,
        "meta_net": init_generator(rngs[5], sizes.embed_dim, sizes.text_width),
    }


def find_shift(prompts: Prompts, seen: Statistics) -> Float[Array, "*batch text_width"]:
    """Computes what is added to all context vectors of each image."""
    style = _map_layers(prompts["style"], (seen.means + seen.deviations) / 2)
    content = _map_layers(prompts["content"], seen.means)
    both = jnp.moveaxis((style + content) / 2, -2, -1)  # [..., d_l, L]
    return (multiply(both, prompts["mix"]["kernel"]) + prompts["mix"]["bias"])[..., 0]


def forward(
    prompts: Prompts, prepared: None, task: Task, numbers: Views | Float[Array, "batch numbers"]
) -> Output:
    """Encodes all classes for each image, and in training for each of its views."""
    del prepared
    viewed = numbers.images if isinstance(numbers, Views) else numbers[:, None]
    seen = split_statistics(task.clip, viewed)  # [B, V, …]
    context = prompts["context"] + find_shift(prompts, seen)[..., None, :]
    texts = normalize(encode_classes(task.clip, task.frozen, task.names, context))  # [B, V, K, d]
    features = normalize(seen.features)
    logits = cosine_logits(task, features[:, 0], texts[:, 0])
    losses = _losses(prompts, task, features, texts) if viewed.shape[1] > 1 else {}
    return Output(logits[None], losses=losses)


def contrast(
    first: Float[Array, "batch dim"], second: Float[Array, "batch dim"], temperature: float
) -> Float[Array, ""]:
    """Computes SimCLR's loss of normalized features of two views (Chen et al., ICML 2020).

    Each image has to be found among all others in both views, in both directions.
    """
    itself = jnp.eye(len(first), dtype=bool)

    def one_way(x: Array, other: Array) -> Array:
        across, within = (jnp.matmul(x, y.T, precision="highest") / temperature for y in (other, x))
        logits = jnp.concatenate([across, jnp.where(itself, -jnp.inf, within)], axis=-1)
        own = jnp.arange(len(x))
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, own))

    return (one_way(first, second) + one_way(second, first)) / 2


def project(
    projector: dict[str, Array], features: Float[Array, "batch dim"]
) -> Float[Array, "batch dim"]:
    """Computes a linear layer and batch normalization with the statistics of the batch."""
    x = multiply(features, projector["kernel"]) + projector["bias"]
    x = (x - jnp.mean(x, axis=0)) * jax.lax.rsqrt(jnp.var(x, axis=0) + BATCH_NORM_EPSILON)
    return x * projector["scale"] + projector["offset"]


def _map_layers(linear: dict[str, Array], x: Array) -> Array:
    """Maps float[..., L, d_v] to float[..., L, d_l], with a linear layer for each of the L."""
    mapped = jnp.einsum("...lv,lvt->...lt", x, linear["kernel"], precision="highest")
    return mapped + linear["bias"]


def _losses(prompts: Prompts, task: Task, features: Array, texts: Array) -> dict[str, Array]:
    settings = task.settings
    own = texts[:, 0]
    apart = [jnp.mean(jnp.square(own - texts[:, view])) for view in (1, 2)]
    losses = {"views": settings.views_weight * sum(apart, start=jnp.zeros(()))}
    if settings.contrast_weight:
        both = [_unit(project(prompts["projector"], features[:, view])) for view in (0, 1)]
        one, other = replicate(task.clip.mesh, both)  # each is compared with all others
        losses["contrast"] = settings.contrast_weight * contrast(one, other, settings.temperature)
    return losses


def _unit(x: Array) -> Array:
    """Normalizes float[..., d]; zeros, as of a batch of one image, stay zeros."""
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(x), axis=-1, keepdims=True), 1e-24))


METHOD = Method(
    Settings,
    init,
    forward,
    input="statistics",
    views=VIEWS,
    context_slots=lambda settings: settings.context_length,
)

TRAINED = Recipe(50, 4, 0.002)
README = "GOPro (BMVC 2023), its repository's tables; the best epoch on the test set"
RECORD = Record(
    "gopro",
    "GOPro",
    'Singha et al., "GOPro: Generate and Optimize Prompts in CLIP using Self-Supervised Learning", '
    "BMVC 2023",
    (2023, 8),
    METHOD,
    {"base_to_novel": TRAINED},
    "text",
    context="A shift that depends on each image is added to these vectors.",
    published=(
        halves(84.21, 77.32, 80.62, README),
        Published("cross_dataset", {"imagenet": (73.27,), "average": (67.86,)}, README),
        Published(
            "domain_generalization",
            dict(zip(SHIFTED, ((65.35,), (50.36,), (52.23,), (78.02,)), strict=True)),
            README,
        ),
    ),
)
