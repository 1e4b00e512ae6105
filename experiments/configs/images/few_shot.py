"""Few-shot classification on the 11 data sets, 1 to 16 shots, three seeds (CoOp, Figure 3).

python -m experiments.main --config=experiments/configs/images/few_shot.py:coop \\
    --config.data.root=/data
… --config=experiments/configs/images/few_shot.py:coop --config.data.shots_list=1,16
"""

from experiments.configs.images import protocol


def get_config(method: str = "pro_mpt"):
    """Returns the method's published settings."""
    c = protocol.get_config("few_shot", method)
    c.data.names = protocol.NAMES
    c.data.shots_list = (1, 2, 4, 8, 16)
    return c
