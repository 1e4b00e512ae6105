"""What passes from our side to the counterpart's process, which imports neither JAX nor ours."""

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

WARM_UP_SECONDS = 2.0
# Of an accelerator's memory, which both sides' processes share.
SIDE_SHARE = 0.48


class Handover(NamedTuple):
    """What the counterpart needs besides the frozen weights, in plain types.

    Attributes:
        method: one of `cells.METHODS`.
        sizes: the fields of a `CLIPConfig`.
        settings: the fields of the method's `Settings`.
        tokens: int[K, 77], SOS, words or placeholders where context stands, name, full stop, EOT;
            of pairs, int[B, 77 - n], SOS, a caption's words, EOT, whose n prompts are put between.
        photo_tokens: int[K, 77], "a photo of a {}.", of ViLT-CLIP its own text; None of pairs.
        prompts: float32 arrays by our names, joined by "/".
    """

    method: str
    sizes: Mapping[str, Any]
    settings: Mapping[str, Any]
    tokens: np.ndarray
    photo_tokens: np.ndarray | None
    prompts: Mapping[str, np.ndarray]


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def first_seconds(run: Callable[[int], float]) -> float:
    """Seconds of one run, of a second one where the first, which warms up, was short."""
    seconds = run(1)
    return run(1) if seconds < WARM_UP_SECONDS else seconds


def image_batch(cell: Any, image_size: int, run: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Made-up images float32[B, H, W, 3] and labels int32[B] of a `Cell`, for both sides.

    Of methods for videos, these, float32[B, F, H, W, 3]; of pairs each is its own label.
    """
    rng, frames = np.random.default_rng(run), (cell.frames,) if cell.frames else ()
    images = rng.standard_normal((cell.batch, *frames, image_size, image_size, 3), np.float32)
    labels = np.arange(cell.batch, dtype=np.int32)
    return images, labels if cell.pairs else labels % cell.K


def feature_batch(cell: Any, width: int, run: int = 0) -> np.ndarray:
    """Image or video features float32[B, d] for a cell's text part, in place of its images."""
    return np.random.default_rng(run).standard_normal((cell.batch, width), np.float32)
