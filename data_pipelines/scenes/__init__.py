"""Renders the scenes and videos of the embedded data sets from emoji.

They are for testing and demonstration; their results say nothing about published ones.
"""

from data_pipelines.scenes.actions import ACTIONS
from data_pipelines.scenes.captions import caption, caption_in_full, caption_video
from data_pipelines.scenes.classes import CLASSES
from data_pipelines.scenes.domains import DOMAINS
from data_pipelines.scenes.render import Scene, compose, describe, render
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
    "caption_in_full",
    "caption_video",
    "compose",
    "describe",
    "describe_video",
    "render",
    "render_video",
    "reversed_video",
]
