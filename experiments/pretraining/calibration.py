"""Measures zero-shot accuracy of a small CLIP on scenes, and calibrates its logit scale."""

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
# Without night, which the quickstart and the comparison report, and without mosaic, whose tiles are
# as large as the image tower's patches, so that no scale suits it.
CALIBRATION = ("sketch", "silhouette")


def to_float(images: jax.Array, preprocessing: Preprocessing = CLIP) -> jax.Array:
    """Converts uint8 images to normalized float32 input."""
    return (images / 255.0 - np.asarray(preprocessing.mean)) / np.asarray(preprocessing.std)


def render_scenes(domain: str, labels: np.ndarray, seed: int, size: int) -> np.ndarray:
    """Renders a scene for each label, uint8[N, size, size, 3]."""
    return np.stack(
        [scenes.render(int(label), domain, seed, i, size) for i, label in enumerate(labels)]
    )


def zero_shot_cosines(
    clip, params, domains: Sequence[str], per_class: int
) -> tuple[dict[str, jax.Array], np.ndarray]:
    """Returns by domain the cosines float[N, 200] with all classes, and the labels of N scenes.

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
    """Returns the accuracy per domain in percent, on scenes that training never draws."""
    found, labels = zero_shot_cosines(clip, params, scenes.DOMAINS, per_class)
    return {
        domain: round(100 * float(np.mean(np.argmax(cosines, axis=-1) == labels)), 2)
        for domain, cosines in found.items()
    }


def loss_at(scale: float, cosines: jax.Array, labels: np.ndarray | jax.Array) -> float:
    """Returns the mean cross-entropy at a logit scale."""
    losses = optax.softmax_cross_entropy_with_integer_labels(scale * cosines, labels)
    return float(jnp.mean(losses))


def calibrate(clip, params, per_class: int = 5) -> Frozen:
    """Returns the parameters with a logit scale for shifted domains; predictions stay the same.

    The scale after training suits plain scenes, where accuracy is near 100 %. On other domains the
    model is then overconfident, and the gradients of prompts are useless.
    """
    found, labels = zero_shot_cosines(clip, params, CALIBRATION, per_class)

    def loss(scale):
        return sum(loss_at(scale, cosines, labels) for cosines in found.values())

    return params | {"logit_scale": jnp.log(float(min(range(1, 101), key=loss)))}
