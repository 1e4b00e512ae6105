"""The comparison of all methods on the embedded stand-in: each method's own config, one rule.

What the stand-in's size asks for is the same for every method and was fixed beforehand: image
prompts stand beside 16 patches, not 196, so there are 2 of them, in 3 of the tower's 4 layers;
methods that prompt the image tower train at an eighth of their published rate, since a tower 128
wide diverges at the full one (seen with ProMPT). Methods that leave the image tower alone train on
the features of 10 views. What takes long has fewer epochs. Nothing else differs from the published
settings, and no method was tuned by its figures here.
"""

from ml_collections import ConfigDict

from experiments.configs.images import protocol
from prompt_jax import methods

SOURCE = "night"
TARGETS = ("plain", "sketch", "silhouette", "mosaic")
CLASSES = 60
VIEWS = 10
SLOWER = 8

CHANGES: dict[str, dict[str, float]] = {
    "coop": {"epochs": 50},
    "cocoop": {"epochs": 5},
    "vpt": {"settings.vision_prompts": 2, "settings.vision_depth": 3},
    "ivlp": {"settings.vision_prompts": 2, "settings.depth": 3},
    "maple": {"settings.depth": 3},
    "promptsrc": {
        "epochs": 4,
        "settings.vision_prompts": 2,
        "settings.depth": 3,
        "settings.average_mean": 3.0,  # 15 of 20 epochs
    },
    "pro_mpt": {"settings.vision_prompts": 2, "settings.vision_depth": 3},
}


def get_configs() -> list[ConfigDict]:
    """A sweep over three seeds for every method, base-to-novel and domain generalization."""
    return [
        _config(name, method)
        for name in ("base_to_novel", "domain_generalization")
        for method in methods.METHODS
    ]


def _config(name: str, method: str) -> ConfigDict:
    c = protocol.get_config(name, method)
    c.data.domain = SOURCE
    c.data.num_classes = CLASSES
    c.data.num_threads = 0
    if name == "domain_generalization":
        c.data.names = ",".join(f"emoji_scenes:{domain}" for domain in TARGETS)
    c.update_from_flattened_dict(CHANGES.get(method, {}))
    if methods.get(method).sees == "features":
        c.cached_views = 0 if method == "zero_shot" else VIEWS
    else:
        c.learning_rate /= SLOWER
    return c
