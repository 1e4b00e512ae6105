"""M²-CLIP: adapters that see neighboring frames and patches, and several heads (Wang et al., AAAI
2024).

Adapters in the image tower have no nonlinearity: depthwise convolutions over frames, and over
patches of the difference to the frame before. The difference part of the last block changes no
prediction, as only class tokens are read; it is kept so that the parameters are the published ones.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from prompt_jax.clip import CLIP, Frozen
from prompt_jax.clip.blocks import convolve_channels, layer_norm
from prompt_jax.clip.image import LayerRun
from prompt_jax.clip.packing import PackedTokens
from prompt_jax.errors import PromptError, unknown
from prompt_jax.methods import actions
from prompt_jax.methods.encoders import Encoders, VideoSettings, pool_frames
from prompt_jax.methods.method import Output, Prompts, Task, Videos
from prompt_jax.methods.objectives import compare, contrast_classes, similarities
from prompt_jax.methods.recipe import Recipe
from prompt_jax.methods.record import Record
from prompt_jax.methods.video.tuned import encode_plain_texts, merge
from prompt_jax.prompts import STANDARD_DEVIATION, init_linear, multiply

Tokens = Float[Array, "batch frames tokens image_width"]
Frames = Float[Array, "batch frames dim"]

RATES = {"text": 0.5}
"""Factors of the learning rate."""

CLASS_SCALE = 100.0
"""The published factor of cosines of videos and classes; the loss of pairs has CLIP's own."""

BEFORE_MLP, BOTH = PLACES = ("before_mlp", "both")
LAST, ALL = TEXT_LAYERS = ("last", "all")
CLASSES_LOSSES = ("probabilities", "logits")
CLASSES, HEAD = PREDICTIONS = ("classes", "head")


@dataclasses.dataclass(frozen=True)
class Settings(VideoSettings):
    """M²-CLIP's settings; the defaults are those of Kinetics-400.

    Attributes:
        hidden: an adapter's hidden width in both towers.
        places: adapters are in front of every MLP, "before_mlp", or of every attention as well,
            "both" (Something-Something V2).
        text_layers: the layers of the text tower that have adapters, the "last" or "all"
            (Something-Something V2).
        classes_loss: what the cross-entropy over the classes takes: "probabilities", as the
            published code does, whose softmax is then computed twice; or "logits".
        head_dropout: the share of inputs of the linear head that is zeroed in training.
        prediction: "classes", similarities with the classes' texts; or "head", the linear head,
            which only knows the classes of the training.
        template: the text of a class, "{}" for its name; "" for the data set's own.
        pooling, renormalize_video: see `VideoSettings`.
    """

    hidden: int = 384
    places: str = BEFORE_MLP
    text_layers: str = LAST
    classes_loss: str = "probabilities"
    head_dropout: float = 0.5
    prediction: str = CLASSES
    template: str = "A video of {}"
    pooling: str = "mean_then_norm"

    def __post_init__(self) -> None:
        super().__post_init__()
        for field, allowed in (
            ("places", PLACES),
            ("text_layers", TEXT_LAYERS),
            ("classes_loss", CLASSES_LOSSES),
            ("prediction", PREDICTIONS),
        ):
            if getattr(self, field) not in allowed:
                raise unknown(f"settings.{field}", getattr(self, field), allowed)
        if self.hidden < 1:
            raise PromptError(f"settings.hidden={self.hidden} must be at least 1")
        if not self.head_dropout < 1:
            raise PromptError(
                f"settings.head_dropout={self.head_dropout} must be below 1; 0 zeroes nothing"
            )
        actions.check_template(self.template)

    @property
    def sublayers(self) -> tuple[str, ...]:
        """Returns the places of adapters in a block."""
        return ("before_attention", "before_mlp") if self.places == BOTH else ("before_mlp",)


def init(rng: PRNGKeyArray, task: Task) -> dict[str, Any]:
    """Draws the adapters and the head.

    {"image": {place: {"down", "conv" over frames, "up", and "difference": {"down", "conv" over
    patches, "up"}}}, "text": {place: {"down", "up"}}, "frames": {"down", "conv", "up"} on the
    features of frames, "head"}. Arrays of the towers have an axis over layers in front.

    Kernels of linear layers are drawn as in PyTorch, that of the head from N(0, 0.02); all biases
    and convolutions are 0. So the image tower starts as CLIP's, and the text tower does not.
    """
    c, s = task.clip.config, task.settings
    image_rng, text_rng, frames_rng, head_rng = jax.random.split(rng, 4)
    sizes = c.image_width, s.hidden

    def of_layers(rng: PRNGKeyArray, layers: int, draw: Any) -> dict[str, Any]:
        rngs = jax.random.split(rng, len(s.sublayers))
        return {
            place: jax.vmap(draw)(jax.random.split(each, layers))
            for place, each in zip(s.sublayers, rngs, strict=True)
        }

    def of_image(rng: PRNGKeyArray) -> dict[str, Any]:
        own, other = jax.random.split(rng)
        difference = init_bottleneck(other, *sizes, (3, 3))
        return init_bottleneck(own, *sizes, (3,)) | {"difference": difference}

    text_layers = 1 if s.text_layers == LAST else c.text_layers
    of_text = functools.partial(init_bottleneck, width=c.text_width, hidden=s.hidden)
    prompts = {
        "image": of_layers(image_rng, c.image_layers, of_image),
        "text": of_layers(text_rng, text_layers, of_text),
        "frames": init_bottleneck(frames_rng, c.embed_dim, max(1, c.embed_dim // 2), (3,)),
    }
    if classes := len(task.trained):  # there are none for captions
        kernel = STANDARD_DEVIATION * jax.random.normal(head_rng, (c.image_width, classes))
        prompts["head"] = {"kernel": kernel, "bias": jnp.zeros(classes)}
    return prompts


def init_bottleneck(
    rng: PRNGKeyArray, width: int, hidden: int, kernel: tuple[int, ...] = ()
) -> dict[str, Any]:
    """Draws "down" and "up", linear layers without biases, and "conv" between them, zeros."""
    down_rng, up_rng = jax.random.split(rng)
    layers = {
        "down": init_linear(down_rng, width, hidden) | {"bias": jnp.zeros(hidden)},
        "up": init_linear(up_rng, hidden, width) | {"bias": jnp.zeros(width)},
    }
    if kernel:
        layers["conv"] = {"kernel": jnp.zeros((*kernel, hidden)), "bias": jnp.zeros(hidden)}
    return layers


def trains(prompts: Prompts, settings: Settings) -> Any:
    """Returns the factors of the learning rate: half of it for adapters of the text tower."""
    del settings
    return jax.tree.map_with_path(lambda path, _: RATES.get(path[0].key, 1.0), prompts)


def decays(prompts: Prompts, settings: Settings) -> Any:
    """Excludes biases from weight decay."""
    del settings
    return jax.tree.map_with_path(lambda path, _: path[-1].key != "bias", prompts)


def convolve(
    clip: CLIP, layers: Any, x: Float[Array, "... width"], axes: tuple[int, ...]
) -> Float[Array, "... width"]:
    """Applies "down", a depthwise convolution along some axes, and "up"."""
    options = clip.block_options
    dtype = options["dtype"]

    def linear(layer: Any, x: Array) -> Array:
        y = jnp.matmul(
            x.astype(dtype), layer["kernel"].astype(dtype), precision=options["precision"]
        )
        return y + layer["bias"].astype(dtype)

    hidden, conv = linear(layers["down"], x), layers["conv"]
    return linear(layers["up"], convolve_channels(hidden, conv["kernel"], conv["bias"], axes))


def adapt(clip: CLIP, layers: Any, tokens: Tokens) -> Tokens:
    """Adds an adapter's output to the tokens of all frames.

    Every token is convolved over the frames at its place. For patches, so is the difference to the
    frame before, which is 0 for the first, over the grid of patches. Without patches, that part is
    left out.
    """
    along = tokens + convolve(clip, layers, tokens, (1,))
    if tokens.shape[-2] == 1:
        return along
    patches, side = tokens[:, :, 1:], clip.config.image_size // clip.config.patch_size
    change = jnp.concatenate([jnp.zeros_like(patches[:, :1]), patches[:, 1:] - patches[:, :-1]], 1)
    grid = change.reshape(*change.shape[:2], side, side, change.shape[-1])
    moved = convolve(clip, layers["difference"], grid, (2, 3)).reshape(change.shape)
    return jnp.concatenate([along[:, :, :1], along[:, :, 1:] + moved], axis=2)


def encode_frames(
    prompts: Prompts, task: Task, videos: Videos
) -> tuple[Frames, Float[Array, "batch frames image_width"]]:
    """Returns the features of frames, not normalized, and their class tokens."""
    clip, frozen, table = task.clip, task.frozen, prompts["image"]

    def step(run: LayerRun, tokens: Tokens, own: dict[str, Any]) -> Tokens:
        if "before_attention" in own:
            tokens = adapt(clip, own["before_attention"], tokens)
        return run(tokens, between=functools.partial(adapt, clip, own["before_mlp"]))

    layers = [jax.tree.map(lambda x, n=n: x[n], table) for n in range(clip.config.image_layers)]
    tokens = clip.run_image_layers(frozen, step, clip.embed_image(frozen, videos), layers)
    features = clip.image_head(frozen, tokens)
    along = convolve(clip, prompts["frames"], features, (1,))
    return features + along.astype(features.dtype), tokens[:, :, 0]


def encode_videos(prompts: Prompts, task: Task, videos: Videos) -> Float[Array, "batch dim"]:
    """Averages the features of frames."""
    return pool_frames(encode_frames(prompts, task, videos)[0], task.settings)


def add_text_adapters(prompts: Prompts, task: Task) -> Frozen:
    """Returns the backbone with adapters in the last layers of the text tower."""
    layers, table = task.clip.config.text_layers, prompts["text"]
    adapted = len(table["before_mlp"]["up"]["bias"])
    arrays = {
        f"block_{layers - adapted + n}": jax.tree.map(lambda x, n=n: x[n], table)
        for n in range(adapted)
    }
    return merge(task.frozen, {"text": arrays})


def encode_texts(prompts: Prompts, task: Task, texts: PackedTokens) -> Float[Array, "texts dim"]:
    """Encodes texts by the text tower with adapters."""
    return encode_plain_texts(task, add_text_adapters(prompts, task), texts)


def classify(
    prompts: Prompts,
    task: Task,
    class_tokens: Float[Array, "batch frames image_width"],
    rng: PRNGKeyArray | None = None,
) -> Float[Array, "batch trained"]:
    """Computes the logits of the linear head, of all classes of the training.

    Args:
        class_tokens: of the frames, after the last layer.
        rng: for dropout in training; None in testing.
    """
    norm, share = task.frozen["image"]["ln_post"], task.settings.head_dropout
    x: Any = layer_norm(jnp.float32).apply({"params": norm}, jnp.mean(class_tokens, axis=1))
    if rng is not None and share:
        x = jnp.where(jax.random.bernoulli(rng, 1 - share, x.shape), x / (1 - share), 0.0)
    return multiply(x, prompts["head"]["kernel"]) + prompts["head"]["bias"]


def scale(prompts: Prompts, task: Task) -> Float[Array, ""]:
    """Returns the factor of cosines in the logits of classes."""
    del prompts, task
    return jnp.float32(CLASS_SCALE)


def forward(
    prompts: Prompts, prepared: Float[Array, "classes dim"], task: Task, videos: Videos
) -> Output:
    """Computes the logits of the classes, by their texts or by the head."""
    frames, class_tokens = encode_frames(prompts, task, videos)
    if task.settings.prediction == HEAD:
        return Output(classify(prompts, task, class_tokens)[None, :, task.trained])
    features = pool_frames(frames, task.settings)
    return Output(compare(task, scale(prompts, task), features, prepared)[None])


def learn(
    prompts: Prompts,
    prepared: Float[Array, "classes dim"],
    task: Task,
    videos: Videos,
    labels: Int[Array, " batch"],
    rng: PRNGKeyArray,
) -> Output:
    """Computes the loss: videos against texts, both ways; classes; and the linear head."""
    s = task.settings
    frames, class_tokens = encode_frames(prompts, task, videos)
    features = pool_frames(frames, s)
    logits = compare(task, scale(prompts, task), features, prepared)
    head = classify(prompts, task, class_tokens, rng)
    pairs = task.scale * similarities(features, prepared[labels])
    given = jax.nn.softmax(logits) if s.classes_loss == "probabilities" else logits
    losses = {
        "pairs": contrast_classes(pairs, labels) / 2,
        "classes": _cross_entropy(given, labels) / 2,
        "head": _cross_entropy(head, labels),
    }
    shown = head if s.prediction == HEAD else logits
    return Output(shown[None], weights=(0.0,), losses=losses)


def _cross_entropy(
    logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]
) -> Float[Array, ""]:
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))


def own_classes_only(settings: Settings) -> bool:
    """Returns whether the head makes the prediction."""
    return settings.prediction == HEAD


ENCODERS = Encoders(
    Settings,
    init,
    encode_videos,
    encode_texts,
    scale=scale,
    template=actions.own_template,
    trains=trains,
    decays=decays,
    learn=learn,
    forward=forward,
    own_classes_only=own_classes_only,
)

# Published for supervised training: 12 epochs of Kinetics-400, tested by 3 x 4 views. The rate is
# 1e-3 for 256 videos. The augmentation and the other protocols' epochs are ours.
_TRAINED = Recipe(
    *(12, 72, 2.8125e-4, "adamw", "warmup_cosine"),
    warmup_epochs=2,
    weight_decay=0.01,
    data={"frames": 8, "augment": "vifi"},
)
RECORD = Record(
    "m2clip",
    "M²-CLIP",
    'Wang et al., "A Multimodal, Multi-Task Adapting Framework for Video Action Recognition", '
    "AAAI 2024",
    (2024, 1),
    ENCODERS,
    {
        "supervised": _TRAINED,
        "zero_shot_transfer": _TRAINED,
        "few_shot": _TRAINED.but(epochs=50),
        "base_to_novel": _TRAINED.but(epochs=50),
    },
    "both",
)
