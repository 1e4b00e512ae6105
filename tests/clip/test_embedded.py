"""The embedded CLIP recognizes the committed scenes that it was trained on."""

import hashlib

import jax
import numpy as np
import pytest

from data_pipelines import scenes
from prompt_jax.clip import CLIP, loading, normalize
from prompt_jax.inputs.images import preprocessing
from prompt_jax.prompts import encode_classes, tokenize_classes

# Scenes of the training distribution. If this hash changes, train and commit new weights.
SCENES_DIGEST = "b990e09de95fbf99"


@pytest.fixture(scope="module")
def embedded():
    return loading.load("embedded")


def render_images(domain: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(count) * 7 % len(scenes.CLASSES)
    rendered = [scenes.render(int(label), domain, 77, i) for i, label in enumerate(labels)]
    mean, std = np.asarray(preprocessing.CLIP_MEAN), np.asarray(preprocessing.CLIP_STD)
    return ((np.stack(rendered) / 255 - mean) / std).astype(np.float32), labels


def test_scenes_are_those_of_the_weights():
    digest = hashlib.sha256()
    for number, domain in enumerate(scenes.DOMAINS):
        for label in range(0, len(scenes.CLASSES), 9):
            digest.update(scenes.render(label, domain, number, label).tobytes())
    assert digest.hexdigest()[:16] == SCENES_DIGEST


@pytest.mark.slow
def test_zero_shot_over_all_classes(embedded):
    config, frozen = embedded
    clip = CLIP(config)
    classes = tokenize_classes("a photo of a {}.", scenes.CLASSES)
    texts = normalize(jax.jit(encode_classes, static_argnums=0)(clip, frozen, classes))
    encode = jax.jit(clip.encode_image)
    accuracy = {}
    for domain in scenes.DOMAINS:
        images, labels = render_images(domain, 200)
        predicted = np.argmax(normalize(encode(frozen, images)) @ texts.T, axis=-1)
        accuracy[domain] = np.mean(predicted == labels)
    assert accuracy["plain"] > 0.75
    # Every shift lowers the accuracy, but none to chance (0.5 %).
    assert all(0.06 < accuracy[domain] < accuracy["plain"] for domain in scenes.DOMAINS[1:])


@pytest.mark.parametrize(
    ("action", "other"), [("appearing", "fading in"), ("going away", "receding")]
)
def test_an_action_is_closer_to_its_paraphrase_than_to_its_reversal(embedded, action, other):
    config, frozen = embedded
    message = [action, other, scenes.ACTIONS[action].reversal]
    classes = tokenize_classes("a video of a cat {}.", message)
    texts = normalize(jax.jit(encode_classes, static_argnums=0)(CLIP(config), frozen, classes))
    same, reversal = np.asarray(texts[1:] @ texts[0])
    assert same > reversal


def test_size_of_the_embedded_clip(embedded):
    _, frozen = embedded
    sizes = {jax.tree_util.keystr(path): a.size for path, a in jax.tree.leaves_with_path(frozen)}
    table = sizes.pop("['text']['token_embedding']")
    assert 1_000_000 <= sum(sizes.values()) <= 3_000_000
    file = loading.EMBEDDED / "model.safetensors"
    assert file.stat().st_size <= 20 * 2**20
    assert file.stat().st_size > 2 * table
