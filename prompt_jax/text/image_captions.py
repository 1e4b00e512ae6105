"""Finds the captions of images by their paths. Imports no JAX."""

import pathlib
from collections.abc import Sequence

from prompt_jax.errors import PromptError, shorten
from prompt_jax.text.class_texts import Texts

ENOUGH = 2
"""Equal last parts of two paths, a directory and a file name, that make them the same image."""


def find(texts: Texts, images: Sequence[str]) -> list[str]:
    """Returns the caption of each image.

    Captions without a path belong to the images in their order. Otherwise an image's caption is the
    one whose path has the most last parts in common with the image's: all of the shorter path, or
    the file name and its directory. Files can so be moved, and directories renamed.

    Args:
        texts: of the kind "captions".
        images: path of each image; "" if it has none.

    Raises:
        PromptError: an image has no caption, or several, or shares it with another image.
    """
    if not any(path for path, _ in texts.captions):
        return _in_order(texts, len(images))
    paths = [_parts(path) for path, _ in texts.captions]
    by_name: dict[str, list[int]] = {}
    for place, parts in enumerate(paths):
        by_name.setdefault("".join(parts[-1:]), []).append(place)
    owner: dict[int, str] = {}
    found, missing = [], []
    for image in images:
        parts = _parts(image)
        same_name = by_name.get("".join(parts[-1:]), ())
        scores = {place: _common(parts, paths[place]) for place in same_name}
        places = [place for place, score in scores.items() if 0 < score == max(scores.values())]
        if not places:
            missing.append(image)
            continue
        found.append(_only(texts, places, image))
        if (before := owner.setdefault(places[0], image)) != image:
            raise PromptError(
                f"{texts.where}: the caption of {shorten(texts.captions[places[0]][0])} could "
                f"belong to {shorten(before)} and {shorten(image)}; give longer paths"
            )
    if missing:
        raise PromptError(
            f"{texts.where} has no caption of {len(missing):,} of {len(images):,} training images, "
            f"e.g. {shorten(missing[0]) if missing[0] else 'one without a path'}; add them, by path"
        )
    return found


def _only(texts: Texts, places: Sequence[int], image: str) -> str:
    captions = {texts.captions[place][1] for place in places}
    if len(captions) > 1:
        raise PromptError(
            f"{texts.where} has {len(captions)} captions of image {shorten(image)}; keep one, or "
            "give longer paths"
        )
    return captions.pop()


def _in_order(texts: Texts, number: int) -> list[str]:
    if len(texts.captions) != number:
        raise PromptError(
            f"{texts.where} has {len(texts.captions):,} captions without paths for {number:,} "
            "training images; give the path of each captioned image"
        )
    return [caption for _, caption in texts.captions]


def _parts(path: str) -> tuple[str, ...]:
    return pathlib.PurePosixPath(path.replace("\\", "/")).parts


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Returns the number of equal last parts; 0 if they do not make the paths the same image."""
    number = 0
    for mine, theirs in zip(reversed(one), reversed(other), strict=False):
        if mine != theirs:
            break
        number += 1
    return number if number >= min(ENOUGH, len(one), len(other)) else 0
