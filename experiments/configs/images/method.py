"""Any method of images as published; base-to-novel, or what --config.protocol says.

    python -m experiments.main --config=experiments/configs/images/method.py:coop \\
        --workdir=results/coop

A protocol's settings, where a method has other ones for it: few_shot.py:coop, and so on.
"""

from experiments.configs import recipes


def get_config(method: str = "pro_mpt"):
    """The method's recipe for base-to-novel."""
    return recipes.get_config(method)
