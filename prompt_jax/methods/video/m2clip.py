"""M²-CLIP: adapters that see neighboring frames and patches, and several heads (AAAI 2024).

Adapters in the image tower have no nonlinearity: depthwise convolutions over frames, and over
patches of the difference to the frame before. The difference part of the last block changes no
prediction, as only class tokens are read; it is kept so that the parameters are the published ones.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from prompt_jax.clip import Frozen, normalize
from prompt_jax.clip.blocks import layer_norm
from prompt_jax.clip.image import LayerRun
from prompt_jax.clip.layers import merge
from prompt_jax.clip.packing import PackedTokens
from prompt_jax.errors import PromptError, unknown
from prompt_jax.heads import frame_adapters, masked_words
from prompt_jax.mesh import split_batch
from prompt_jax.methods import actions
from prompt_jax.methods.encoders import Encoders, VideoSettings, pool_frames
from prompt_jax.methods.method import Output, Prompts, Task, Videos
from prompt_jax.methods.objectives import compare, contrast_classes, similarities
from prompt_jax.methods.recipe import Recipe
from prompt_jax.methods.record import Record
from prompt_jax.methods.video.tuned import encode_plain_texts
from prompt_jax.prompts import STANDARD_DEVIATION, multiply

Tokens = Float[Array, "batch frames tokens image_width"]
Frames = Float[Array, "batch frames dim"]

TEXT_RATE = 0.5
"""The factor of the learning rate of adapters in text blocks."""

CLASS_SCALE = 100.0
"""The published factor of cosines of videos and classes; the loss of pairs has CLIP's own."""

BEFORE_MLP, BOTH = PLACES = ("before_mlp", "both")
LAST, _ = TEXT_LAYERS = ("last", "all")
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
        words: the words that are masked in texts of training videos and guessed from the videos,
            separated by spaces, or each followed by its index; "" for none. "@FILE" in a config
            reads a file, such as the published lists. Needs a CLIP whose features are as wide as
            its text tower.
        mask_probability: the probability of each of these words to be masked. The published code
            masks none, and its paper's value is not known; this is BERT's.
        words_weight: weight of the loss of the guesses.
        pooling, renormalize_video: see `VideoSettings`.
    """

    hidden: int = 384
    places: str = BEFORE_MLP
    text_layers: str = LAST
    classes_loss: str = "probabilities"
    head_dropout: float = 0.5
    prediction: str = CLASSES
    template: str = "A video of {}"
    words: str = ""
    mask_probability: float = 0.15
    words_weight: float = 0.1
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
        if not 0 < self.mask_probability <= 1:
            raise PromptError(
                f"settings.mask_probability={self.mask_probability} must be above 0 and at most 1; "
                'without masked words, set settings.words=""'
            )
        object.__setattr__(self, "words", " ".join(masked_words.read(self.words, "settings.words")))

    @property
    def sublayers(self) -> tuple[str, ...]:
        """Returns the places of adapters in a block."""
        return ("before_attention", "before_mlp") if self.places == BOTH else ("before_mlp",)


def constants(
    task: Task, class_names: Sequence[str], texts: Sequence[str]
) -> masked_words.Words | None:
    """Finds the words of the classes' texts that may be masked."""
    del class_names
    words = task.settings.words.split()
    return masked_words.find_words(texts, words) if words else None


def init(rng: PRNGKeyArray, task: Task) -> dict[str, Any]:
    """Draws the adapters and the head.

    {"image": {place: {"down", "conv" over frames, "up", and "difference": {"down", "conv" over
    patches, "up"}}}, "text": {place: {"down", "up"}}, "frames": {"down", "conv", "up"} on the
    features of frames, "head"}. Arrays of the towers have an axis over layers in front. With words
    to guess also "words": the text adapters of a further block and a head, see `masked_words`.

    Kernels of linear layers are drawn as in PyTorch, that of the head from N(0, 0.02); all biases
    and convolutions are 0. So the image tower starts as CLIP's, and the text tower does not.
    """
    c, s = task.clip.config, task.settings
    image_rng, text_rng, frames_rng, head_rng, block_rng, words_rng = jax.random.split(rng, 6)
    sizes = c.image_width, s.hidden

    def of_layers(rng: PRNGKeyArray, layers: int, draw: Any) -> dict[str, Any]:
        rngs = jax.random.split(rng, len(s.sublayers))
        return {
            place: jax.vmap(draw)(jax.random.split(each, layers))
            for place, each in zip(s.sublayers, rngs, strict=True)
        }

    def of_image(rng: PRNGKeyArray) -> dict[str, Any]:
        own, other = jax.random.split(rng)
        difference = frame_adapters.init(other, *sizes, (3, 3))
        return frame_adapters.init(own, *sizes, (3,)) | {"difference": difference}

    text_layers = 1 if s.text_layers == LAST else c.text_layers
    of_text = functools.partial(frame_adapters.init, width=c.text_width, hidden=s.hidden)
    prompts = {
        "image": of_layers(image_rng, c.image_layers, of_image),
        "text": of_layers(text_rng, text_layers, of_text),
        "frames": frame_adapters.init(frames_rng, c.embed_dim, max(1, c.embed_dim // 2), (3,)),
    }
    if classes := len(task.trained):  # there are none for captions
        kernel = STANDARD_DEVIATION * jax.random.normal(head_rng, (c.image_width, classes))
        prompts["head"] = {"kernel": kernel, "bias": jnp.zeros(classes)}
        if words := s.words.split():
            block = jax.tree.map(lambda x: x[0], of_layers(block_rng, 1, of_text))
            prompts["words"] = block | masked_words.init(words_rng, task.clip, len(words))
    return prompts


def trains(prompts: Prompts, settings: Settings) -> Any:
    """Returns the factors of the learning rate: half of it for adapters of text blocks."""

    def factor(path: Any, _: Array) -> float:
        of_words = path[0].key == "words" and path[1].key in settings.sublayers
        return TEXT_RATE if of_words or path[0].key == "text" else 1.0

    return jax.tree.map_with_path(factor, prompts)


def decays(prompts: Prompts, settings: Settings) -> Any:
    """Excludes biases from weight decay."""
    del settings
    return jax.tree.map_with_path(lambda path, _: path[-1].key != "bias", prompts)


def encode_frames(
    prompts: Prompts, task: Task, videos: Videos
) -> tuple[Frames, Float[Array, "batch frames image_width"]]:
    """Returns the features of frames, not normalized, and their class tokens."""
    clip, frozen, table = task.clip, task.frozen, prompts["image"]

    def step(run: LayerRun, tokens: Tokens, own: dict[str, Any]) -> Array:
        if "before_attention" in own:
            tokens = frame_adapters.adapt(clip, own["before_attention"], tokens)
        return run(tokens, between=functools.partial(frame_adapters.adapt, clip, own["before_mlp"]))

    layers = [jax.tree.map(lambda x, n=n: x[n], table) for n in range(clip.config.image_layers)]
    tokens = clip.run_image_layers(frozen, step, clip.embed_image(frozen, videos), layers)
    features = clip.image_head(frozen, tokens)
    along = frame_adapters.convolve(clip, prompts["frames"], features, (1,))
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
    """Computes the logits of the head for all classes of the training; with `rng` for dropout."""
    norm, share = task.frozen["image"]["ln_post"], task.settings.head_dropout
    x: Any = layer_norm(jnp.float32).apply({"params": norm}, jnp.mean(class_tokens, axis=1))
    if rng is not None and share:
        x = jnp.where(jax.random.bernoulli(rng, 1 - share, x.shape), x / (1 - share), 0.0)
    mesh = task.clip.mesh
    logits = multiply(split_batch(mesh, x, 1), prompts["head"]["kernel"])
    return split_batch(mesh, logits + prompts["head"]["bias"], 1)


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
    """Computes the loss of a training step, with words masked at random; see `compute_terms`."""
    words, masked = task.constants.more, None
    mask_rng, dropout_rng = jax.random.split(rng)
    if words is not None:
        if not words.word.shape[1]:
            raise PromptError("no text of a class has a word of settings.words; use other words")
        masked = masked_words.mask(words, labels, task.settings.mask_probability, mask_rng)
    return compute_terms(prompts, prepared, task, videos, labels, dropout_rng, masked)


def compute_terms(
    prompts: Prompts,
    prepared: Float[Array, "classes dim"],
    task: Task,
    videos: Videos,
    labels: Int[Array, " batch"],
    rng: PRNGKeyArray,
    masked: masked_words.Masked | None = None,
) -> Output:
    """Computes the loss: videos against texts, both ways; classes; the linear head; masked words.

    Args:
        rng: for dropout.
        masked: the texts of the videos with masked words, if there are words to guess; videos are
            compared with these.
    """
    s = task.settings
    frames, class_tokens = encode_frames(prompts, task, videos)
    features = pool_frames(frames, s)
    logits = compare(task, scale(prompts, task), features, prepared)
    head = classify(prompts, task, class_tokens, rng)
    # Not from features of the videos' texts, which devices would exchange.
    pairs, further = task.scale * logits[:, labels] / CLASS_SCALE, {}
    if masked is not None:
        found, hidden = masked_words.encode(task.clip, add_text_adapters(prompts, task), masked)
        pairs = task.scale * similarities(features, normalize(found))
        guesses = masked_words.guess(task.clip, task.frozen, prompts["words"], hidden, frames)
        further["words"] = s.words_weight * masked_words.loss(guesses, masked.targets)
    given = jax.nn.softmax(logits) if s.classes_loss == "probabilities" else logits
    cross_entropy = optax.softmax_cross_entropy_with_integer_labels
    losses = {
        "pairs": contrast_classes(pairs, labels) / 2,
        "classes": jnp.mean(cross_entropy(given, labels)) / 2,
        "head": jnp.mean(cross_entropy(head, labels)),
        **further,
    }
    shown = head if s.prediction == HEAD else logits
    return Output(shown[None], weights=(0.0,), losses=losses)


ENCODERS = Encoders(
    Settings,
    init,
    encode_videos,
    encode_texts,
    scale=scale,
    template=actions.own_template,
    constants=constants,
    trains=trains,
    decays=decays,
    learn=learn,
    forward=forward,
    own_classes_only=lambda settings: settings.prediction == HEAD,
)

# Published for supervised training on Kinetics-400, tested by 3 x 4 views; for Something-Something
# V2: 50 epochs, batches of 128, so a rate of 5e-4 (1e-3 for 256 videos). The augmentation and the
# other protocols' epochs are ours.
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
