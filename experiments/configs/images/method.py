"""Any image method with its published base-to-novel settings.

    python -m experiments.main --config=experiments/configs/images/method.py:coop \\
        --workdir=results/coop

--config.protocol changes only the protocol. For the method's settings for another protocol, use its
file, e.g. few_shot.py:coop.
"""

from experiments.configs import recipes


def get_config(method: str = "pro_mpt"):
    """Returns the method's recipe for base-to-novel."""
    return recipes.get_config(method)
