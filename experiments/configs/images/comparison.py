"""Comparison of all methods on the embedded CLIP, with their published settings.

There are three changes: prompts that the papers insert into 9 of 12 layers are inserted into 5 of
6; methods that train on features of the frozen image tower cache those of 10 views; and methods
that train without labels get as many images as the others have shots.
No method was tuned on these results. Methods that read texts of classes read the embedded ones.
"""

from ml_collections import ConfigDict

from experiments.configs.images import protocol
from prompt_jax import methods

METHODS = tuple(methods.METHODS)
OPTIONAL_METHODS: tuple[str, ...] = ()
PROTOCOLS = ("base_to_novel", "few_shot", "unlabeled")
OPTIONAL_PROTOCOLS = ("domain_generalization",)
SHOTS = 16
FEW_SHOTS = 4  # with 16 shots of twice as many classes, few-shot took two thirds of all the time
SOURCE = "night"
TARGETS = ("plain", "sketch", "silhouette", "mosaic")
CLASSES = 30
VIEWS = 10

DEPTH, PUBLISHED_DEPTH = 5, 9  # of 6 layers, and of 12


def get_configs() -> list[ConfigDict]:
    """Returns a sweep over three seeds per method and protocol.

    Methods that train without labels have a protocol of their own, the others have all the others.
    """
    names = (*PROTOCOLS, *OPTIONAL_PROTOCOLS)
    return [
        _config(name, method)
        for name in names
        for method in METHODS
        if (name == "unlabeled") == (_record(method).sees_in_training == "no labels")
    ]


def _config(name: str, method: str) -> ConfigDict:
    c = protocol.get_config(name, method)
    c.data.domain = SOURCE
    c.data.num_classes = CLASSES
    c.data.num_threads = 0
    if name == "unlabeled":
        c.data.train_per_class = SHOTS
    c.data.shots = FEW_SHOTS if name == "few_shot" else SHOTS
    if name == "domain_generalization":
        c.data.names = ",".join(f"emoji_scenes:{domain}" for domain in TARGETS)
    c.parallel_seeds = name != "unlabeled"  # whose time is that of the image tower
    for field in ("depth", "vision_depth"):
        if c.settings.get(field) == PUBLISHED_DEPTH:
            c.settings[field] = DEPTH
    trains = _record(method).sees_in_training != "nothing"
    kept = methods.get(method).input in ("features", "statistics")
    if trains and kept and not c.cached_views:
        c.cached_views = VIEWS
    return c


def _record(method: str) -> methods.Record:
    return methods.RECORDS["images"][method]
