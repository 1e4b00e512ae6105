"""The embedded data set's scenes: rendered on the fly from emoji, with no file of our own.

They stand in for the pipeline and for how methods learn, never for the papers' figures.
"""

from data_pipelines.scenes.captions import caption
from data_pipelines.scenes.classes import CLASSES
from data_pipelines.scenes.domains import DOMAINS
from data_pipelines.scenes.render import Scene, compose, render

__all__ = ["CLASSES", "DOMAINS", "Scene", "caption", "compose", "render"]
