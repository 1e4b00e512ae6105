"""Generates varied captions of scenes and videos."""

import random
from types import MappingProxyType

import numpy as np

from data_pipelines.scenes.actions import ACTIONS
from data_pipelines.scenes.classes import CLASSES
from data_pipelines.scenes.render import Scene
from data_pipelines.scenes.videos import VideoScene

SHORT = ("a photo of a {}.", "a {}.", "an image of a {}.")
"""Short captions, about a third of all."""

_SHORT_SHARE = 1 / 3
_DOMAIN_SHARE = 1 / 2

_GENERAL = (
    "a photo of the {name}.",
    "a good photo of a {name}.",
    "a clear photo of a {name}.",
    "an image of a {name}.",
    "an image of the {name}.",
    "this is a {name}.",
    "there is a {name} here.",
    "{name}.",
    "the {name}.",
    "a {name} on {ground}.",
    "an image of a {name} on {ground}.",
    "a photo of a {name} on {ground}.",
    "{ground} with a {name}.",
)
_ONE = (
    "a {size} {name}.",
    "a photo of a {size} {name}.",
    "a {name} {place}.",
    "a {size} {name} {place}.",
    "a photo of a {name} {place}.",
    "a {size} {name} on {ground}.",
)
_CENTERED = (
    "a centered photo of the {name}.",
    "a {name} in the middle.",
)
_TWO = (
    "a {name} and another {name}.",
    "a photo of one {name} and another.",
    "two of the same {name}.",
    "more than one {name}.",
)
_DOMAIN = MappingProxyType(
    {
        "sketch": (
            "a sketch of a {name}.",
            "a pencil sketch of the {name}.",
            "a drawing of a {name}.",
            "a {name}, sketched.",
        ),
        "silhouette": (
            "a silhouette of a {name}.",
            "the silhouette of the {name}.",
            "a dark shape of a {name}.",
            "a {name} against the light.",
        ),
        "night": (
            "a dark night photo of a {name}.",
            "a {name} at night.",
            "a dark photo of a {name}.",
            "a photo of a {name} in the dark.",
        ),
        "mosaic": (
            "a mosaic of a {name}.",
            "a pixelated photo of a {name}.",
            "a {name} made of tiles.",
            "a mosaic image of the {name}.",
        ),
    }
)
_GROUNDS = MappingProxyType(
    {
        "plain": ("a {color} background", "plain {color}"),
        "gradient": ("a {color} background", "a {color} gradient"),
        "stripes": ("a {color} background", "{color} stripes"),
        "checks": ("a {color} background", "{color} checks"),
        "dots": ("a {color} background", "{color} dots"),
        "clouds": ("a {color} background", "{color} clouds"),
        "noise": ("a {color} background", "{color} noise"),
    }
)
_PLACES = MappingProxyType(
    {
        "left": "at the left",
        "right": "at the right",
        "top": "at the top",
        "bottom": "at the bottom",
        "center": "in the center",
    }
)
_STYLES = MappingProxyType(
    {
        "plain": "",
        "sketch": ", a sketch",
        "silhouette": ", a silhouette",
        "night": " at night",
        "mosaic": ", a mosaic",
    }
)
_CLIP = (
    "a {name} {doing}.",
    "a {name} is {doing}.",
    "the {name} is {doing}.",
    "a video of a {name} {doing}.",
)
_CLIP_IN_FULL = (
    "a {name} {doing} on {ground}.",
    "a {name} is {doing} on {ground}.",
    "on {ground}, a {name} is {doing}.",
    "{ground}, and a {name} {doing}.",
)


def caption(scene: Scene, rng: np.random.Generator | random.Random) -> str:
    """Returns a random caption of a scene.

    Args:
        scene: the description of `compose`.
        rng: the generator of the choice.

    Returns:
        A caption with the class name, at most 14 CLIP tokens. About a third are `SHORT`; outside of
        the plain domain about half name the domain.
    """
    name = CLASSES[scene.label]
    draw = rng.random()
    if draw < _SHORT_SHARE:
        return _pick(SHORT, rng).format(name)
    if scene.domain in _DOMAIN and draw < _SHORT_SHARE + _DOMAIN_SHARE:
        return _pick(_DOMAIN[scene.domain], rng).format(name=name)
    fitting: tuple[str, ...] = _TWO if scene.count == 2 else _ONE
    if scene.position == "center" and scene.count == 1:
        fitting += _CENTERED
    template = _pick(_GENERAL + fitting, rng)
    ground = _pick(_GROUNDS[scene.background], rng).format(color=scene.color)
    place = _PLACES[scene.position]
    return template.format(name=name, ground=ground, place=place, size=scene.size)


def caption_in_full(scene: Scene) -> str:
    """Returns the caption that names all that the description of a scene has, without a choice."""
    name = CLASSES[scene.label]
    what = f"two of the same {name}" if scene.count == 2 else f"a {scene.size} {name}"
    where = "" if scene.count == 2 else f" {_PLACES[scene.position]}"
    ground = _GROUNDS[scene.background][0 if scene.background == "plain" else 1]
    return f"{what}{where} on {ground.format(color=scene.color)}{_STYLES[scene.domain]}."


def caption_video(
    scene: VideoScene, rng: np.random.Generator | random.Random, in_full: bool = False
) -> str:
    """Returns a random caption of a video.

    Args:
        scene: the description of `describe_video`.
        rng: the generator of the choice. With the same state, the captions of a video and its
            reversal differ only in the action or the objects' roles.
        in_full: always name the background, instead of in about half of the captions.

    Returns:
        A caption with object and action, at most 17 CLIP tokens.
    """
    name, *other = (CLASSES[label] for label in scene.objects)
    template = _pick(_CLIP_IN_FULL if in_full else _CLIP + _CLIP_IN_FULL, rng)
    doing = _pick(ACTIONS[scene.action].phrases, rng).format(other="".join(other))
    ground = _pick(_GROUNDS[scene.background], rng).format(color=scene.color)
    return template.format(name=name, doing=doing, ground=ground)


def _pick(choices: tuple[str, ...], rng: np.random.Generator | random.Random) -> str:
    return choices[int(rng.random() * len(choices))]
