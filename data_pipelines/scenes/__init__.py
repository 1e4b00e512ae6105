"""The embedded data sets' scenes and videos: rendered on the fly from emoji, no file of our own.

They stand in for the pipeline and for how methods learn, never for the papers' figures.
"""

from data_pipelines.scenes.actions import ACTIONS
from data_pipelines.scenes.captions import caption, caption_video
from data_pipelines.scenes.classes import CLASSES
from data_pipelines.scenes.domains import DOMAINS
from data_pipelines.scenes.render import Scene, compose, render
from data_pipelines.scenes.videos import (
    LENGTH,
    RATE,
    VideoScene,
    describe_video,
    render_video,
    reversed_video,
)

__all__ = [
    "ACTIONS",
    "CLASSES",
    "DOMAINS",
    "LENGTH",
    "RATE",
    "Scene",
    "VideoScene",
    "caption",
    "caption_video",
    "compose",
    "describe_video",
    "render",
    "render_video",
    "reversed_video",
]
