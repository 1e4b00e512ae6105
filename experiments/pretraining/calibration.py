"""Zero-shot accuracy of a small CLIP on scenes, and the scale of logits that suits it."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from data_pipelines import scenes
from prompt_jax.clip import Frozen, normalize, tokenizer
from prompt_jax.inputs.images.preprocessing import CLIP, Preprocessing

TOKENS = 16  # slots of the longest caption, SOS and EOT included
STREAM = 1_000_003  # seed of the pretraining scenes; the data set "emoji_scenes" uses 0
# Not night: the quickstart and the comparison report on it. Nor mosaic, whose tiles are as large as
# the tower's patches: no scale suits what a tower does not see.
CALIBRATION = ("sketch", "silhouette")


def to_float(images: jax.Array, preprocessing: Preprocessing = CLIP) -> jax.Array:
    """uint8 images to the towers' input, float32, normalised as CLIP's are, or another's."""
    return (images / 255.0 - np.asarray(preprocessing.mean)) / np.asarray(preprocessing.std)


def render_scenes(domain: str, labels: np.ndarray, seed: int, size: int) -> np.ndarray:
    """A scene of each label in turn: uint8[N, size, size, 3]."""
    return np.stack(
        [scenes.render(int(label), domain, seed, i, size) for i, label in enumerate(labels)]
    )


def zero_shot_cosines(
    clip, params, domains: Sequence[str], per_class: int
) -> tuple[dict[str, jax.Array], np.ndarray]:
    """Cosines float[N, 200] with all classes, by domain, and the labels of their N scenes.

    Training never draws these scenes.
    """
    tokens = tokenizer.tokenize([f"a photo of a {name}." for name in scenes.CLASSES], TOKENS)
    texts = normalize(jax.jit(clip.encode_text)(params, tokens))
    encode = jax.jit(lambda p, x: normalize(clip.encode_image(p, to_float(x))))
    labels = np.repeat(np.arange(len(scenes.CLASSES)), per_class)
    cosines = {}
    for domain in domains:
        images = render_scenes(domain, labels, STREAM - 1, clip.config.image_size)
        cosines[domain] = encode(params, images) @ texts.T
    return cosines, labels


def zero_shot_accuracy(clip, params, per_class: int = 2) -> dict[str, float]:
    """Accuracy in percent per domain, over all classes, on scenes that training never draws."""
    found, labels = zero_shot_cosines(clip, params, scenes.DOMAINS, per_class)
    return {
        domain: round(100 * float(np.mean(np.argmax(cosines, axis=-1) == labels)), 2)
        for domain, cosines in found.items()
    }


def loss_at(scale: float, cosines: jax.Array, labels: np.ndarray | jax.Array) -> float:
    """The mean cross-entropy of classes with that scale of logits."""
    losses = optax.softmax_cross_entropy_with_integer_labels(scale * cosines, labels)
    return float(jnp.mean(losses))


def calibrate(clip, params, per_class: int = 5) -> Frozen:
    """The same parameters with the scale of logits that suits shifted domains; no answer changes.

    Training leaves a scale that suits plain scenes, where nearly all answers are right. Elsewhere
    the model is then sure of wrong ones, and prompts get gradients that they cannot train with.
    """
    found, labels = zero_shot_cosines(clip, params, CALIBRATION, per_class)

    def loss(scale):
        return sum(loss_at(scale, cosines, labels) for cosines in found.values())

    return params | {"logit_scale": jnp.log(float(min(range(1, 101), key=loss)))}
