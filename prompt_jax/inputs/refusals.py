"""Says why an array or another value is not an image or video, and what to pass."""

from typing import Any, Protocol

import numpy as np

from prompt_jax.inputs.images.preprocessing import CHANNELS, Preprocessing

# Limits of a normalized image; CLIP's black is -1.8 and white 2.1.
FARTHEST, MOST_TIMES = 10.0, 4.0


class Wanted(Protocol):
    """The fields of `preparation.Inputs` that messages name."""

    @property
    def image_size(self) -> int:
        """The side of the input in pixels."""

    @property
    def frames(self) -> int:
        """The frames of a video; 0 for images."""

    @property
    def preprocessing(self) -> Preprocessing:
        """The normalization."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image or video."""

    @property
    def kind(self) -> str:
        """The word, "image" or "video"."""


def of_type(item: Any, inputs: Wanted) -> str:
    """Returns the message on a value that is neither a path, a content, an image nor an array."""
    what = type(item).__name__
    return f"a value of type {what} is not a valid {inputs.kind}; {describe_wanted(inputs)}"


def of_array(array: np.ndarray, inputs: Wanted) -> str:
    """Returns the message on an array of a wrong shape, type or range, with what to do."""
    steps = [step for step in (_fix_axes(array, inputs), _fix_values(array, inputs)) if step]
    start = f"an array of {array.dtype}{list(array.shape)}:"
    return "; ".join([f"{start} {describe_wanted(inputs)}", *steps])


def looks_unprepared(array: np.ndarray, preprocessing: Preprocessing) -> bool:
    """Returns whether floating-point values cannot be those of a normalized image."""
    if not np.isfinite(array).all():
        return True
    least, most = float(array.min()), float(array.max())
    black, white = preprocessing.bounds
    if black < -0.1 and 0 <= least < most <= 1:  # values 0..1
        return True
    return max(-least, most) > max(FARTHEST, -MOST_TIMES * black, MOST_TIMES * white)


def describe_wanted(inputs: Wanted) -> str:
    """Returns what one image or video can be."""
    size = inputs.image_size
    if inputs.frames:
        return (
            "a video is a path, the bytes of a file, an open file, a URL, a list of images, "
            "uint8[frames, height, width, 3] of any size, or normalized "
            f"float[{inputs.frames}, {size}, {size}, 3]; several are a list, or have an additional "
            "first axis"
        )
    return (
        "an image is a path, the bytes of a file, an open file, a URL, a Pillow image, "
        "uint8[height, width, 3] or gray uint8[height, width] of any size, or normalized "
        f"float[{size}, {size}, 3]; several are a list, or have an additional first axis"
    )


def _fix_axes(array: np.ndarray, inputs: Wanted) -> str:
    """Returns what to do about the axes; "" if they are right or nothing is known."""
    shape, axes = array.shape, len(inputs.shape)
    if len(shape) not in (axes, axes + 1):
        return _add_channels(array, inputs) if len(shape) == axes - 1 else ""
    if shape[-1] == CHANNELS or not array.size:
        return ""
    if shape[-3] == CHANNELS:
        return "its channels come first, so move them: np.moveaxis(x, -3, -1)"
    if shape[-3] == 1:
        return "its gray channel comes first, so move it: np.moveaxis(x, -3, -1)"
    if shape[-1] == 4:
        return "drop the fourth channel: x[..., :3]"
    return _add_channels(array, inputs) if shape[-1] > 4 and len(shape) == axes else ""


def _add_channels(array: np.ndarray, inputs: Wanted) -> str:
    what = "frames" if inputs.frames else "images"
    return f"if these are gray {what}, add the axis of channels: x[..., None]"


def _fix_values(array: np.ndarray, inputs: Wanted) -> str:
    """Returns what to do about the type or the values; "" if they are right."""
    kind = array.dtype.kind
    if array.dtype == np.uint8 or not array.size or kind not in "biufV":
        return ""
    if kind == "b":
        return "convert it: x.astype(np.uint8) * 255"
    values = array.astype(np.float32)
    if not np.isfinite(values).all():
        return "some of its values are NaN or infinite"
    least, most = float(np.min(values)), float(np.max(values))
    found = f"its values are from {least:g} to {most:g}"
    if kind in "iu":
        if least >= 0 and most <= 255:
            return "convert it: x.astype(np.uint8)"
        return f"{found}; scale them to 0..255 and convert: x.astype(np.uint8)"
    if not looks_unprepared(values, inputs.preprocessing):
        return ""
    if least >= 0 and most <= 1:
        return f"{found}; convert 0..1: np.round(x * 255).astype(np.uint8)"
    if least >= 0 and most <= 255:
        return f"{found}; convert 0..255: np.round(x).astype(np.uint8)"
    black = inputs.preprocessing.bounds[0]
    return (
        f"{found}; floating-point arrays must be normalized (mean subtracted, divided by the "
        f"standard deviation, about {black:.1f} to {inputs.preprocessing.bounds[1]:.1f}): pass "
        "uint8 of 0 to 255, or the output of `preprocess`"
    )
