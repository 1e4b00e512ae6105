"""The embedded data sets' scenes and clips: rendered on the fly from emoji, no file of our own.

They stand in for the pipeline and for how methods learn, never for the papers' figures.
"""

from data_pipelines.scenes.actions import ACTIONS
from data_pipelines.scenes.captions import caption, caption_clip
from data_pipelines.scenes.classes import CLASSES
from data_pipelines.scenes.clips import (
    LENGTH,
    RATE,
    ClipScene,
    describe_clip,
    render_clip,
    reversed_clip,
)
from data_pipelines.scenes.domains import DOMAINS
from data_pipelines.scenes.render import Scene, compose, render

__all__ = [
    "ACTIONS",
    "CLASSES",
    "DOMAINS",
    "LENGTH",
    "RATE",
    "ClipScene",
    "Scene",
    "caption",
    "caption_clip",
    "compose",
    "describe_clip",
    "render",
    "render_clip",
    "reversed_clip",
]
