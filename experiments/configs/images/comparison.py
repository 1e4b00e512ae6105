"""The comparison of all methods on the embedded stand-in: each method's own config, as published.

Prompts that the papers put into 9 layers of 12 enter 5 of the stand-in's 6. Methods that leave the
image tower alone train on the features of 10 views. Nothing else differs from the published
settings, and no method was tuned by its figures here.
"""

from ml_collections import ConfigDict

from experiments.configs.images import protocol
from prompt_jax import methods

METHODS = tuple(methods.METHODS)
BESIDE: tuple[str, ...] = ()
PROTOCOLS = ("base_to_novel", "domain_generalization")
SOURCE = "night"
TARGETS = ("plain", "sketch", "silhouette", "mosaic")
CLASSES = 60
VIEWS = 10

DEPTH, PUBLISHED_DEPTH = 5, 9  # of 6 layers, and of 12


def get_configs() -> list[ConfigDict]:
    """A sweep over three seeds for every method, base-to-novel and domain generalization."""
    return [_config(name, method) for name in PROTOCOLS for method in METHODS]


def _config(name: str, method: str) -> ConfigDict:
    c = protocol.get_config(name, method)
    c.data.domain = SOURCE
    c.data.num_classes = CLASSES
    c.data.num_threads = 0
    if name == "domain_generalization":
        c.data.names = ",".join(f"emoji_scenes:{domain}" for domain in TARGETS)
    c.parallel_seeds = True
    for field in ("depth", "vision_depth"):
        if c.settings.get(field) == PUBLISHED_DEPTH:
            c.settings[field] = DEPTH
    if methods.get(method).input == "features" and method != "zero_shot":
        c.cached_views = VIEWS
    return c
