"""NoLA: prompts in the image tower, learned without labels (Imam et al., "CLIP meets DINO for
Tuning Zero-Shot Classifier using Unlabeled Image Collections", 2024).

Three stages: texts of the classes give a classifier; its surest predictions on the unlabeled images
train a network on DINO's features; the predictions of that network train prompts, the image tower's
LayerNorms and the classifier.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from prompt_jax.clip import normalize
from prompt_jax.clip.layers import copy_arrays, merge
from prompt_jax.errors import PromptError, unknown
from prompt_jax.mesh import DATA, MODEL, constrain, take_rows
from prompt_jax.methods.inputs import split_views
from prompt_jax.methods.method import Images, Method, Output, Prompts, Task
from prompt_jax.methods.recipe import Labeling, Labels, Recipe
from prompt_jax.methods.record import Record
from prompt_jax.text.class_names import fill
from prompt_jax.text.class_texts import CLASSES, note_empty
from prompt_jax.text_features import encode_means

CHOICES = 3
"""A class takes images whose first choice it is; without any, their second or third choice."""

NORMALIZATIONS = ("own", "backbone")
_RATE = 1e-3
_BATCH = 32


@dataclasses.dataclass(frozen=True)
class Settings:
    """NoLA's settings.

    Attributes:
        vision_prompts: P, prompts between the class token and the patches, in all layers; 16 in
            the released configuration, 50 in its comment on the experiments.
        templates: filled templates that are averaged with a class's sentences, one text each; none:
            the data set's own.
        share: share of an even part of the images, N / K, that are selected for each class.
        least: images that are selected for each class at least, if there are so many.
        hidden: width of the hidden layer of the labeling network.
        labeling_epochs: epochs of its training.
        label_smoothing: share of the loss that is the same for all classes.
        second_normalization: whether images for the second backbone are normalized by its "own"
            mean and standard deviation, or by CLIP's ("backbone", as published).
    """

    vision_prompts: int = 16
    templates: tuple[str, ...] = ()
    share: float = 0.2
    least: int = 16
    hidden: int = 256
    labeling_epochs: int = 50
    label_smoothing: float = 0.1
    second_normalization: str = "own"

    def __post_init__(self) -> None:
        for field in ("vision_prompts", "least", "hidden", "labeling_epochs"):
            if getattr(self, field) < 1:
                raise PromptError(f"settings.{field}={getattr(self, field)} must be at least 1")
        for field in ("share", "label_smoothing"):
            if not 0 <= getattr(self, field) <= 1:
                raise PromptError(f"settings.{field}={getattr(self, field)} must be from 0 to 1")
        if self.second_normalization not in NORMALIZATIONS:
            value = self.second_normalization
            raise unknown("settings.second_normalization", value, NORMALIZATIONS)
        object.__setattr__(self, "templates", tuple(self.templates))  # JSON has lists
        for template in self.templates:
            if not isinstance(template, str) or template.count("{}") != 1:
                raise PromptError(
                    f'settings.templates: {template!r:.80} must contain "{{}}" once, for the class '
                    "name"
                )


def constants(task: Task, class_names: Sequence[str], template: str) -> Float[Array, "classes dim"]:
    """Returns the text classifier: the mean of each class's sentences and templates, normalized."""
    assert task.texts is not None
    note_empty(task.texts, class_names)
    templates = task.settings.templates or (template,)
    groups = [
        (*sentences, *(fill(one, name) for one in templates))
        for sentences, name in zip(task.texts.of(class_names), class_names, strict=True)
    ]
    return normalize(encode_means(task.clip, task.frozen, groups, "sentences of the classes"))


def init(rng: PRNGKeyArray, task: Task) -> dict[str, Any]:
    """Returns the prompts, the image tower's LayerNorms and the text classifier.

    Returns:
        {"prompts": float32[P, d_v], uniform; "norms": {"image": …}, copies of the backbone's;
        "classifier": float32[K, d]}.
    """
    sizes = task.clip.config
    bound = (6 / (3 * sizes.patch_size**2 + sizes.image_width)) ** 0.5
    shape = (task.settings.vision_prompts, sizes.image_width)
    classifier = jnp.zeros((len(task.trained), sizes.embed_dim))
    if task.constants is not None:  # where only shapes are wanted, no text is encoded
        classifier = jnp.array(task.constants, copy=True)
    return {
        "prompts": jax.random.uniform(rng, shape, minval=-bound, maxval=bound),
        "norms": copy_arrays(task.frozen, _is_norm),
        "classifier": classifier,
    }


def _is_norm(path: tuple[str, ...]) -> bool:
    return path[0] == "image" and path[-2].startswith("ln_")


def decays(prompts: Prompts, settings: Settings) -> Any:
    """Returns False for biases, which have no weight decay."""
    del settings
    return jax.tree.map_with_path(lambda path, _: path[-1].key != "bias", prompts)


def encode(prompts: Prompts, task: Task, images: Images) -> Float[Array, "batch dim"]:
    """Encodes images with the prompts and LayerNorms; the features are not normalized."""
    frozen = merge(task.frozen, prompts["norms"])
    tokens = task.clip.embed_image(frozen, images)
    own = jnp.broadcast_to(prompts["prompts"], (*tokens.shape[:-2], *prompts["prompts"].shape))
    tokens = jnp.concatenate([tokens[..., :1, :], own, tokens[..., 1:, :]], axis=-2)
    return task.clip.encode_tokens(frozen, tokens)


def forward(prompts: Prompts, prepared: None, task: Task, images: Images) -> Output:
    """Computes the products of features and classifier, and the smoothed part of the loss."""
    del prepared
    [images] = split_views(images)
    rows = take_rows(task.clip.mesh, prompts["classifier"], task.trained)
    features = encode(prompts, task, images)
    logits = jnp.einsum("bd,kd->bk", features, rows, precision="highest")
    logits = constrain(task.clip.mesh, logits, DATA, MODEL)
    smoothing = task.settings.label_smoothing
    even = -jnp.mean(jax.nn.log_softmax(logits))
    return Output(logits[None], (1 - smoothing,), {"smoothing": smoothing * even})


def select(
    probabilities: Float[np.ndarray, "images classes"], number: int
) -> tuple[Int[np.ndarray, " selected"], Int[np.ndarray, " selected"], list[int]]:
    """Selects the surest images of each class.

    A class takes the `number` images with the highest first probability of those whose first
    choice it is; if there is none, it goes on to second and then third choices. An image stays with
    the first class that takes it.

    Returns:
        the selected images, the class of each, and the classes that get no image.
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :CHOICES]
    sorted_probabilities = np.take_along_axis(probabilities, order, axis=1)
    found: dict[int, int] = {}
    without = []
    for label in range(probabilities.shape[1]):
        for choice in range(order.shape[1]):
            images = np.flatnonzero(order[:, choice] == label)
            if len(images):
                surest = np.argsort(-sorted_probabilities[images, choice], kind="stable")
                for image in images[surest[:number]]:
                    found.setdefault(int(image), label)
                break
        else:
            without.append(label)
    return np.array([*found], np.int32), np.array([*found.values()], np.int32), without


def init_labeler(
    rng: PRNGKeyArray, inputs: int, hidden: int, classes: int
) -> dict[str, dict[str, Array]]:
    """Draws the labeling network, two linear layers, as PyTorch does."""

    def draw(key: PRNGKeyArray, shape: tuple[int, int]) -> dict[str, Array]:
        keys, bound = jax.random.split(key), shape[0] ** -0.5
        kernel, bias = (
            jax.random.uniform(one, size, minval=-bound, maxval=bound)
            for one, size in zip(keys, (shape, shape[1:]), strict=True)
        )
        return {"kernel": kernel, "bias": bias}

    first, second = jax.random.split(rng)
    return {"linear1": draw(first, (inputs, hidden)), "linear2": draw(second, (hidden, classes))}


def label_logits(
    network: dict[str, dict[str, Array]], features: Float[Array, "images width"]
) -> Float[Array, "images classes"]:
    """Computes the labeling network's logits of a second backbone's features."""
    one, two = network["linear1"], network["linear2"]
    hidden = jnp.matmul(features, one["kernel"], precision="highest") + one["bias"]
    return jnp.matmul(jax.nn.relu(hidden), two["kernel"], precision="highest") + two["bias"]


def label_loss(
    network: dict[str, dict[str, Array]],
    features: Float[Array, "images width"],
    labels: Int[Array, " images"],
    counts: Float[Array, " images"] | None = None,
) -> Float[Array, ""]:
    """Computes the mean cross-entropy over the images whose `counts` is 1, by default all."""
    losses = optax.softmax_cross_entropy_with_integer_labels(
        label_logits(network, features), labels
    )
    return jnp.average(losses, weights=counts)


def train_labeler(
    features: Float[np.ndarray, "images width"],
    labels: Int[np.ndarray, " images"],
    classes: int,
    settings: Settings,
    seed: int,
) -> dict[str, dict[str, Array]]:
    """Trains the labeling network: Adam at 1e-3, batches of 32 images in a random order."""
    rng = jax.random.key(seed)
    network = init_labeler(rng, features.shape[1], settings.hidden, classes)
    number = len(labels)
    batch = min(_BATCH, number)
    padding = -number % batch
    counted = (jnp.arange(number + padding) < number).astype(jnp.float32).reshape(-1, batch)
    optimizer = optax.adam(_RATE)
    rows, targets = jnp.asarray(features), jnp.asarray(labels)

    def step(state: Any, given: Any) -> tuple[Any, None]:
        network, moments = state
        places, counts = given
        gradients = jax.grad(label_loss)(network, rows[places], targets[places], counts)
        updates, moments = optimizer.update(gradients, moments, network)
        return (optax.apply_updates(network, updates), moments), None

    @jax.jit
    def epoch(state: Any, rng: PRNGKeyArray) -> Any:
        order = jnp.pad(jax.random.permutation(rng, number), (0, padding)).reshape(-1, batch)
        return jax.lax.scan(step, state, (order, counted))[0]

    state = network, optimizer.init(network)
    for key in jax.random.split(jax.random.fold_in(rng, 1), settings.labeling_epochs):
        state = epoch(state, key)
    return state[0]


def make_labels(
    task: Task,
    features: Float[np.ndarray, "images dim"],
    second: Float[np.ndarray, "images width"],
    seed: int,
) -> Labels:
    """Labels images by a network that is trained on the text classifier's surest predictions."""
    settings, probabilities = task.settings, classify(features, task)
    images, classes = probabilities.shape
    number = max(settings.least, int(settings.share * images / classes))
    chosen, labels, without = select(probabilities, number)
    network = train_labeler(second[chosen], labels, classes, settings, seed)
    found = np.asarray(jnp.argmax(label_logits(network, jnp.asarray(second)), axis=-1), np.int32)
    size = sum(leaf.size for leaf in jax.tree.leaves(network))
    described = (
        f"labels by a network of {size:,} parameters, trained on the text classifier's surest "
        f"predictions of {len(chosen):,} images, at most {number:,} of each class"
    )
    return Labels(found, described, tuple(without))


def classify(
    features: Float[np.ndarray, "images dim"], task: Task
) -> Float[np.ndarray, "images classes"]:
    """Returns the text classifier's probabilities for CLIP's features, not normalized."""
    return np.asarray(_probabilities(jnp.asarray(features), task.constants, task.scale))


@jax.jit
def _probabilities(features: Array, classifier: Array, scale: Array) -> Array:
    cosines = jnp.matmul(normalize(features), classifier.T, precision="highest")
    return jax.nn.softmax(scale * cosines)


METHOD = Method(
    Settings,
    init,
    forward,
    views=("crop_perspective",),
    constants=constants,
    decays=decays,
    labeling=Labeling(make_labels, lambda settings: settings.second_normalization == "own"),
    own_classes_only=lambda settings: True,
    texts=CLASSES,
)

RECORD = Record(
    "nola",
    "NoLA",
    'Imam et al., "CLIP meets DINO for Tuning Zero-Shot Classifier using Unlabeled Image '
    'Collections", arXiv 2024',
    (2024, 11),
    METHOD,
    {
        "unlabeled": Recipe(
            epochs=50,
            batch_size=512,
            learning_rate=4e-3,
            optimizer="adamw",
            schedule="constant",
            weight_decay=0.01,
        )
    },
    "images",
    sees_in_training="no labels",
)
