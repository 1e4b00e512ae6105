"""Attention of the image tower's class token, without and with vision prompts."""

import jax.numpy as jnp
import matplotlib
import numpy as np
from PIL import Image

from data_pipelines.examples import Dataset, Example
from experiments.report.blocks import Card, Gallery, Section
from experiments.report.finished import SIDE
from experiments.report.tower_passes import record_passes
from experiments.setup.preparation import Prepared
from prompt_jax.inputs.images import transforms
from prompt_jax.inputs.images.preprocessing import CLIP, Preprocessing
from prompt_jax.methods import Prompts

IMAGES = 6
_COLORS = matplotlib.colormaps["inferno"]


def section(run: Prepared, prompts: Prompts, key: str, number: int = IMAGES) -> Section | None:
    """Returns test images beside attention maps; None for a method without vision prompts.

    Args:
        run: a finished run, from `reopening.reopen`.
        prompts: its trained prompts.
        key: of the test set.
        number: of images, evenly spread over the test set.

    Raises:
        BadImage: one of them cannot be read.
    """
    if run.plan.train.kind != "images" or run.method.input != "images":
        return None
    dataset, clip = run.plan.tests[key], run.backbone.clip
    examples = spread(dataset, number)
    originals = [dataset.read(example) for example in examples]
    prepared, size = run.plan.batches.inputs.preprocessing, clip.config.image_size
    images = np.stack([transforms.test_transform(p, size, None, prepared) for p in originals])
    without, with_prompts = record_passes(run, prompts, key, jnp.asarray(images))
    if with_prompts is None:
        return None
    both = [np.asarray(each.attention).mean(axis=1) for each in (without, with_prompts)]
    cards = [
        _card(example, show(image, prepared), before, after, clip.config.patches)
        for example, image, before, after in zip(examples, images, *both, strict=True)
    ]
    caption = (
        "Each image as the image tower receives it, then the attention of the class token in the "
        "last layer (mean over heads): frozen CLIP without prompts, and with the vision prompts of "
        f"this run{', in the last iteration' if run.config.method == 'pro_mpt' else ''}. Both maps "
        "of an image have the same scale, up to the largest attention to a patch."
    )
    return Section("Attention of the image tower", [Gallery(cards, caption)])


def spread(dataset: Dataset, number: int) -> list[Example]:
    """Returns `number` test examples, evenly spread, or all if there are fewer."""
    last = len(dataset.test) - 1
    places = np.linspace(0, last, min(number, last + 1)).round().astype(int)
    return [dataset.test[place] for place in places.tolist()]


def show(image: np.ndarray, prepared: Preprocessing = CLIP) -> Image.Image:
    """Converts an input of the tower, float32[S, S, 3], to an image."""
    pixels = np.clip(image * np.array(prepared.std) + np.array(prepared.mean), 0, 1)
    shown = Image.fromarray((255 * pixels).round().astype(np.uint8))
    return shown.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def overlay(image: Image.Image, weights: np.ndarray, most: float) -> Image.Image:
    """Overlays a heat map on an image.

    Args:
        image: square.
        weights: float[n], of patches in rows, n a square number.
        most: the weight of the brightest color.
    """
    side = round(len(weights) ** 0.5)
    grid = Image.fromarray((weights / most).reshape(side, side).astype(np.float32))
    smooth = np.clip(np.asarray(grid.resize(image.size, Image.Resampling.BICUBIC)), 0, 1)
    colors = Image.fromarray((255 * _COLORS(smooth)[..., :3]).round().astype(np.uint8))
    return Image.blend(image, colors, 0.6)


def _card(example, image, before, after, patches):
    """Returns an image and its maps, from float[1 + patches] and float[1 + patches + prompts]."""
    on_patches = [weights[1 : 1 + patches] for weights in (before, after)]
    most = max(float(weights.max()) for weights in on_patches)
    maps = [overlay(image, weights, most) for weights in on_patches]
    shares = [100 * float(weights.sum()) for weights in on_patches]
    to_prompts = 100 * float(after[1 + patches :].sum())
    lines = (
        "image, without prompts, with prompts",
        f"attention to patches: {shares[0]:.0f} %, then {shares[1]:.0f} %",
        f"attention to prompts: {to_prompts:.0f} %",
    )
    return Card([image, *maps], example.name, lines)
