"""Where the image tower looks: the class token's attention, without and with vision prompts."""

import jax.numpy as jnp
import matplotlib
import numpy as np
from PIL import Image

from data_pipelines.examples import Dataset, Example
from experiments.report.blocks import Card, Gallery, Section
from experiments.report.finished import SIDE
from experiments.report.seeing import see
from experiments.setup.preparation import Prepared
from prompt_jax.inputs.images import transforms
from prompt_jax.inputs.images.preprocessing import CLIP, Preprocessing
from prompt_jax.methods import Prompts

IMAGES = 6
_COLORS = matplotlib.colormaps["inferno"]


def section(run: Prepared, prompts: Prompts, key: str, number: int = IMAGES) -> Section | None:
    """Some test images beside maps of attention; None of a method without vision prompts.

    Args:
        run: a finished run, from `reopening.reopen`.
        prompts: what it trained.
        key: of the test set.
        number: of images, evenly spread over the test set.

    Raises:
        BadImage: one of them cannot be read.
    """
    if run.plan.train.kind != "images" or run.method.sees != "images":
        return None
    dataset, clip = run.plan.tests[key], run.backbone.clip
    examples = spread(dataset, number)
    originals = [dataset.read(example) for example in examples]
    prepared, size = run.plan.batches.inputs.preprocessing, clip.config.image_size
    images = np.stack([transforms.test_transform(p, size, None, prepared) for p in originals])
    without, with_prompts = see(run, prompts, key, jnp.asarray(images))
    if with_prompts is None:
        return None
    both = [np.asarray(each.attention).mean(axis=1) for each in (without, with_prompts)]
    cards = [
        _card(example, show(image, prepared), before, after, clip.config.patches)
        for example, image, before, after in zip(examples, images, *both, strict=True)
    ]
    caption = (
        "Each image as the tower gets it, then what the class token looks at in the last layer "
        "(mean over heads): frozen CLIP without prompts, and with this run's vision prompts"
        f"{', in the last iteration' if run.config.method == 'pro_mpt' else ''}. Both maps of a "
        "image have one scale, up to the most attention that a patch of either gets."
    )
    return Section("Where the image tower looks", [Gallery(cards, caption)])


def spread(dataset: Dataset, number: int) -> list[Example]:
    """So many test examples, evenly spread over their list, or all of fewer."""
    last = len(dataset.test) - 1
    places = np.linspace(0, last, min(number, last + 1)).round().astype(int)
    return [dataset.test[place] for place in places.tolist()]


def show(image: np.ndarray, prepared: Preprocessing = CLIP) -> Image.Image:
    """An image float32[S, S, 3] as the tower gets it, as people see it."""
    pixels = np.clip(image * np.array(prepared.std) + np.array(prepared.mean), 0, 1)
    shown = Image.fromarray((255 * pixels).round().astype(np.uint8))
    return shown.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def lay_over(image: Image.Image, weights: np.ndarray, most: float) -> Image.Image:
    """An image under the colours of what its patches get.

    Args:
        image: square.
        weights: float[n], of patches in rows, n a square number.
        most: what the brightest colour stands for.
    """
    side = round(len(weights) ** 0.5)
    grid = Image.fromarray((weights / most).reshape(side, side).astype(np.float32))
    smooth = np.clip(np.asarray(grid.resize(image.size, Image.Resampling.BICUBIC)), 0, 1)
    colors = Image.fromarray((255 * _COLORS(smooth)[..., :3]).round().astype(np.uint8))
    return Image.blend(image, colors, 0.6)


def _card(example, image, before, after, patches):
    """One image and its maps, from float[1 + patches] and float[1 + patches + prompts]."""
    on_patches = [weights[1 : 1 + patches] for weights in (before, after)]
    most = max(float(weights.max()) for weights in on_patches)
    maps = [lay_over(image, weights, most) for weights in on_patches]
    shares = [100 * float(weights.sum()) for weights in on_patches]
    to_prompts = 100 * float(after[1 + patches :].sum())
    lines = (
        "image, without prompts, with prompts",
        f"attention to patches: {shares[0]:.0f} %, then {shares[1]:.0f} %",
        f"attention to prompts: {to_prompts:.0f} %",
    )
    return Card([image, *maps], example.name, lines)
