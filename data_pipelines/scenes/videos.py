"""Renders videos: one or two moving emoji on a procedural background.

A video is a function of (seed, index, action, objects). It has `LENGTH` frames, which are rendered
on demand.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_pipelines.errors import DataError, unknown
from data_pipelines.scenes.actions import ACTIONS
from data_pipelines.scenes.backgrounds import choose_background, draw_background
from data_pipelines.scenes.classes import CLASSES
from data_pipelines.scenes.domains import DOMAINS, SHIFTS, STRENGTHS, nightlight
from data_pipelines.scenes.drawing import SIZES, TINT, check_number, draw_emoji
from data_pipelines.scenes.motions import DRAWS, Pose

LENGTH = 60
"""Frames of a video. Divided by 4, 12 or 20 it is odd, so that each segment has a middle frame and
sampling gives exactly the same frames of a video and its reversal."""

RATE = 20.0
"""Frames per second."""

Objects = tuple[int, ...]


@dataclass(frozen=True)
class VideoScene:
    """The description of a video.

    Attributes:
        action: a key of `actions.ACTIONS`.
        objects: one or two positions in `CLASSES`, the acting one first.
        background: the pattern, a key of `backgrounds.PATTERNS`.
        color: the background's main color, a key of `backgrounds.COLORS`.
    """

    action: str
    objects: Objects
    background: str
    color: str


def render_video(
    action: str,
    objects: Objects,
    seed: int,
    index: int,
    size: int = 48,
    frames: Sequence[int] = range(LENGTH),
    domain: str = "plain",
) -> np.ndarray:
    """Renders frames of a video; the same arguments give the same bytes.

    The video of `reversed_video(action, objects)` has exactly the same frames in reverse order.

    Args:
        action: a key of `actions.ACTIONS`.
        objects: as many positions in `CLASSES` as the action has objects, all different.
        seed: of the data set, at least 0.
        index: of the video among those of its action and objects, at least 0.
        size: side in pixels, 32 to 96.
        frames: indices from 0 to `LENGTH` - 1, in any order.
        domain: the domain of every frame, one of `DOMAINS`.

    Returns:
        uint8[F, size, size, 3], red-green-blue.

    Raises:
        DataError: an argument out of its range, or the emoji are not installed.
    """
    _check(action, objects, seed, index)
    if domain not in SHIFTS:
        raise unknown("domain", domain, DOMAINS)
    check_number("size", size, SIZES[0], SIZES[-1])
    for frame in frames:
        check_number("frame", frame, 0, LENGTH - 1)
    backwards, objects, rng = _begin(action, objects, seed, index)
    gains, mirrored, draws = _look(rng)
    motion = ACTIONS[action].motion
    background, _, _ = draw_background(size, rng)
    images = np.empty((len(frames), size, size, 3), np.float32)
    for image, frame in zip(images, frames, strict=True):
        passed = LENGTH - 1 - frame if backwards else frame
        poses, night = motion((passed + 0.5) / LENGTH, draws)
        layer = np.zeros((size, size, 4), np.float32)
        for label, pose, mirror in zip(objects, poses, mirrored, strict=False):
            _lay(layer, _draw(label, pose, mirror, size) * gains)
        # The same noise for a frame of the video and of its reversal.
        noise = np.random.default_rng((seed, index, passed))
        shifted = SHIFTS[domain](background, layer, noise, STRENGTHS[domain])
        image[:] = shifted * nightlight(night)
    return (np.clip(images, 0, 255) + 0.5).astype(np.uint8)


def describe_video(action: str, objects: Objects, seed: int, index: int) -> VideoScene:
    """Describes the video of `render_video` without rendering it; raises the same errors."""
    _check(action, objects, seed, index)
    rng = _begin(action, objects, seed, index)[-1]
    _look(rng)
    return VideoScene(action, objects, *choose_background(rng))


def reversed_video(action: str, objects: Objects) -> tuple[str, Objects]:
    """Returns action and objects of the video with the same frames in reverse order.

    If they are unchanged, e.g. for a shaking object, there is no such video.
    """
    reversal = ACTIONS[action].reversal
    return reversal, objects[::-1] if ACTIONS[action].exchanged else objects


def _begin(
    action: str, objects: Objects, seed: int, index: int
) -> tuple[bool, Objects, np.random.Generator]:
    """Returns whether the motion is played backwards, its objects and the generator of choices."""
    backwards = ACTIONS[action].backwards
    # One of a video and its reversal is always the motion played forwards.
    if ACTIONS[action].exchanged and objects[0] > objects[1]:
        backwards, objects = True, objects[::-1]
    pair = min(_NUMBERS[action], _NUMBERS[ACTIONS[action].reversal])
    return backwards, objects, np.random.default_rng((seed, index, pair, *objects))


def _look(rng: np.random.Generator) -> tuple[np.ndarray, list[bool], list[float]]:
    """Draws the gains of RGBA, whether each object is mirrored, and the motion's numbers."""
    gains = np.ones(4, np.float32)
    gains[:3] += TINT * (2 * rng.random(3) - 1)
    mirrored = [draw < 0.5 for draw in rng.random(2).tolist()]
    return gains, mirrored, rng.random(DRAWS).tolist()


def _draw(label: int, pose: Pose, mirrored: bool, size: int) -> np.ndarray:
    center = (pose.x, pose.y)
    drawn = draw_emoji(CLASSES[label], size, center, pose.diameter, pose.angle, mirrored)
    return drawn * np.float32(pose.opacity)


def _lay(below: np.ndarray, layer: np.ndarray) -> None:
    """Composites a premultiplied layer over another, in place."""
    below *= 1 - layer[..., 3:] / 255
    below += layer


def _check(action: str, objects: Objects, seed: int, index: int) -> None:
    if action not in ACTIONS:
        raise unknown("action", action, ACTIONS)
    for label in objects:
        check_number("object", label, 0, len(CLASSES) - 1)
    needed = ACTIONS[action].num_objects
    if len(objects) != needed or len(set(objects)) != needed:
        each = ", each of another class" if needed > 1 else ""
        raise DataError(f"objects={objects}: {action!r} needs {needed}{each}")
    check_number("seed", seed, 0, None)
    check_number("index", index, 0, None)


_NUMBERS = {action: number for number, action in enumerate(ACTIONS)}
