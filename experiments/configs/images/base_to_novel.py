"""Base-to-novel on the 11 data sets, three seeds (ProMPT, Table 1), with any method.

python -m experiments.main --config=experiments/configs/images/base_to_novel.py \\
    --config.data.root=/data
… --config=experiments/configs/images/base_to_novel.py:maple --config.data.names=caltech101,dtd
"""

from experiments.configs.images import protocol


def get_config(method: str = "pro_mpt"):
    """Returns the method's published settings."""
    c = protocol.get_config("base_to_novel", method)
    c.data.names = protocol.NAMES
    return c
