"""Finds images or videos that look alike although their files differ.

Images are compared by the 64-bit perceptual hash of the package ImageHash (`.[check]`). Few bits
differ between rescaled, recompressed or slightly cropped versions, about half between others.
Videos are compared by the hashes of frames at fixed shares of their length, all of which must be
alike; a part of a video is not found.
"""

import filecmp
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from data_pipelines.errors import BadImage, DataError, installing
from data_pipelines.examples import Dataset, Example
from data_pipelines.layouts.layout import SPLITS

MOST_BITS = 4
"""Images whose hashes differ in at most this many of 64 bits are near-duplicates."""
_THREADS = 4
_ROWS = 512  # compared at once with all others
_FLAT = 8  # gray levels between the darkest and the brightest pixel of an image without content
_SHOWN = 20
_SHARES = (1 / 8, 3 / 8, 5 / 8, 7 / 8)  # of a video's length, at which its frames are compared


Pair = tuple[Example, Example, int]
"""An image, one that it looks like, and in how many bits their hashes differ."""


def notes(dataset: Dataset) -> list[str]:
    """Returns a note on near-duplicates in different splits and one on those within a split, each
    with a line for each of the first ones.

    If ImageHash is missing, the note says how to install it.
    """
    try:
        across, within = find(dataset)
    except DataError as error:
        return [str(error)]
    lines = _listed(
        across, f"{dataset.kind} that look like one of another split, and may be the same scene"
    )
    return lines + _listed(within, f"{dataset.kind} that look like another one of their split")


def _listed(found: Sequence[Pair], what: str) -> list[str]:
    if not found:
        return []
    lines = [
        f"{one.image} looks like {other.image} ({bits} of 64 bits differ)"
        for one, other, bits in found[:_SHOWN]
    ]
    more = [f"… and {len(found) - _SHOWN:,} more"] * (len(found) > _SHOWN)
    return [f"{what}: {len(found):,}", *lines, *more]


def find(dataset: Dataset) -> tuple[list[Pair], list[Pair]]:
    """Returns near-duplicates in different splits, and others within a split.

    Each is an image with the nearest one of an earlier split, or before it in its own. The distance
    of videos is that of the pair of frames that differ most. Exact copies (`lists.find_copies`),
    unreadable and uniform images are left out.

    Raises:
        DataError: ImageHash is not installed.
    """
    seen: list[tuple[list[Example], np.ndarray]] = []
    across: list[Pair] = []
    within: list[Pair] = []
    for split in SPLITS:
        examples, hashes = _hashes(dataset, getattr(dataset, split))
        before = [one for earlier, _ in seen for one in earlier]
        if before and examples:
            others = np.concatenate([each for _, each in seen])
            across += _pairs(dataset, examples, before, *_nearest(hashes, others))
        if examples:
            named = {one.image for one, _, _ in across}
            pairs = _pairs(dataset, examples, examples, *_nearest(hashes, hashes, earlier=True))
            within += [pair for pair in pairs if pair[0].image not in named]
        seen.append((examples, hashes))
    return across, within


def _pairs(dataset, examples, others, nearest, bits) -> list[Pair]:
    return [
        (one, others[place], int(distance))
        for one, place, distance in zip(examples, nearest, bits, strict=True)
        if distance <= MOST_BITS and not _same_bytes(dataset, one, others[place])
    ]


def _hashes(dataset: Dataset, examples: Sequence[Example]) -> tuple[list[Example], np.ndarray]:
    """Returns the examples that can be hashed, and their hashes, uint64[n, frames]."""
    try:
        import imagehash
    except ImportError as error:
        raise DataError(
            "near-duplicates in other splits were not checked: ImageHash is not installed; "
            f"install it: {installing('check')}"
        ) from error

    def hashed(example: Example) -> np.ndarray | None:
        try:
            grays = [frame.convert("L") for frame in _frames(dataset, example)]
        except BadImage:
            return None
        if max(int(np.ptp(np.asarray(gray))) for gray in grays) < _FLAT:
            return None
        return np.stack([imagehash.phash(gray).hash for gray in grays])

    with ThreadPoolExecutor(_THREADS) as threads:
        found = zip(examples, threads.map(hashed, examples), strict=True)
        pairs = [(example, bits) for example, bits in found if bits is not None]
    frames = len(_SHARES) if dataset.kind == "videos" else 1
    bits = np.array([each for _, each in pairs], bool).reshape(-1, 64)
    hashes = np.packbits(bits, axis=1).view(np.uint64).reshape(-1, frames)
    return [example for example, _ in pairs], hashes


def _frames(dataset: Dataset, example: Example) -> list[Image.Image]:
    """Returns the image, or the compared frames of the video."""
    found = dataset.read(example)
    if dataset.kind == "images":
        return [found]
    return list(found.frames([int(share * found.count) for share in _SHARES]))


def _nearest(
    hashes: np.ndarray, others: np.ndarray, earlier: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the index of each hash's nearest in `others`, int[n], and the distance, uint8[n].

    With `earlier`, only among those with a lower index; the distance of the first is 255.
    """
    places, bits = [], []
    for start in range(0, len(hashes), _ROWS):
        between = np.bitwise_count(hashes[start : start + _ROWS, None] ^ others).max(axis=-1)
        if earlier:
            between[np.arange(len(others)) >= start + np.arange(len(between))[:, None]] = 255
        places.append(between.argmin(1))
        bits.append(between.min(1))
    return np.concatenate(places), np.concatenate(bits)


def _same_bytes(dataset: Dataset, one: Example, other: Example) -> bool:
    if dataset.folder is None:
        return False
    return filecmp.cmp(dataset.folder / one.image, dataset.folder / other.image, shallow=False)
