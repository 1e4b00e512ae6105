"""Tip-Adapter (ECCV 2022): a cache of the shots' features, nothing trained.

    python -m experiments.main --config=experiments/configs/images/tip_adapter.py \\
        --workdir=results/tip

Its authors publish few-shot curves, and nothing in base-to-novel.
"""

from experiments.configs import default


def get_config(protocol: str = "base_to_novel"):
    """Ten augmented views of every shot; the grid that is published for ImageNet."""
    c = default.get_config("tip_adapter")
    c.protocol = protocol
    c.cached_views = 10
    return c
