"""Data that this library passes to the PyTorch process, which imports neither JAX nor `ours`."""

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

WARM_UP_SECONDS = 2.0
# Share of an accelerator's memory per side; both processes use the same device.
SIDE_SHARE = 0.48


class Handover(NamedTuple):
    """The inputs of the counterpart besides the frozen weights, in plain types.

    Attributes:
        method: one of `cells.METHODS`.
        sizes: fields of a `CLIPConfig`.
        settings: fields of the method's `Settings`; none for towers.
        tokens: int[K, 77], SOS, words or placeholders for the context, class name, full stop, EOT;
            for pairs int[B, 77 - n], SOS, caption, EOT, without the n text prompts; for the text
            tower the texts themselves.
        photo_tokens: int[K, 77], "a photo of a {}." or ViLT-CLIP's template; None for pairs.
        prompts: float32 arrays by this library's names, joined by "/".
    """

    method: str
    sizes: Mapping[str, Any]
    settings: Mapping[str, Any]
    tokens: np.ndarray
    photo_tokens: np.ndarray | None
    prompts: Mapping[str, np.ndarray]


class Figures(NamedTuple):
    """Results of a first training step: logits, and gradients by the names of `prompts`."""

    logits: np.ndarray
    gradients: Mapping[str, np.ndarray]


def compare(expected: Figures, found: Figures) -> dict[str, float]:
    """Returns the largest difference of logits and the cosine of all gradients together.

    A gradient that is missing in `found` counts as zero.
    """

    def together(gradients: Mapping[str, np.ndarray]) -> np.ndarray:
        arrays = (
            gradients.get(name, np.zeros_like(array)) for name, array in expected.gradients.items()
        )
        return np.concatenate([np.ravel(array).astype(np.float64) for array in arrays])

    ours, theirs = together(expected.gradients), together(found.gradients)
    lengths = np.linalg.norm(ours) * np.linalg.norm(theirs)
    return {
        "logits": float(np.abs(expected.logits - found.logits).max()),
        "cosine": float(ours @ theirs / lengths) if lengths else 0.0,
    }


def cores() -> int:
    """Returns the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def first_seconds(run: Callable[[int], float]) -> float:
    """Returns the seconds of one run; after a short first run, which warms up, of a second one."""
    seconds = run(1)
    return run(1) if seconds < WARM_UP_SECONDS else seconds


def image_batch(cell: Any, image_size: int, run: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns random images float32[B, H, W, 3] and labels int32[B] of a `Cell`, for both sides.

    For video methods, returns videos float32[B, F, H, W, 3]; pairs are labeled 0 to B - 1.
    """
    rng, frames = np.random.default_rng(run), (cell.frames,) if cell.frames else ()
    images = rng.standard_normal((cell.batch, *frames, image_size, image_size, 3), np.float32)
    labels = np.arange(cell.batch, dtype=np.int32)
    return images, labels if cell.pairs else labels % cell.K


def feature_batch(cell: Any, width: int, run: int = 0) -> np.ndarray:
    """Returns random image or video features float32[B, d] for the text part of a cell."""
    return np.random.default_rng(run).standard_normal((cell.batch, width), np.float32)
