"""Shared parts of the configs of protocols and ablations; not a config itself."""

from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.configs import default, recipes

SEEDS = (1, 2, 3)
# The data sets of the published averages, in the published order.
NAMES = (
    "imagenet,caltech101,oxford_pets,stanford_cars,flowers102,food101,fgvc_aircraft,sun397,dtd,"
    "eurosat,ucf101"
)


def get_config(protocol: str, method: str) -> ConfigDict:
    """Returns a method's recipe for a protocol, with the seeds of the published averages.

    Raises:
        PromptError: the method is unknown.
    """
    c = recipes.get_config(method, protocol)
    c.seeds = SEEDS
    return c


def get_ablation(name: str, variants: Mapping[str, Mapping[str, float]]) -> ConfigDict:
    """Returns a sweep over variants of ProMPT, base-to-novel.

    Args:
        name, variants: see `default.vary`.
    """
    c = get_config("base_to_novel", "pro_mpt")
    c.data.names = NAMES
    return default.vary(c, name, variants)
