"""ProMPT (ICMR 2024), base-to-novel: 16 shots, batch 4, SGD 0.008, 5 epochs (section 4.1).

    python -m experiments.main --config=experiments/configs/pro_mpt.py --workdir=results/pro_mpt

Published, ViT-B/16, average of 11 data sets: base 80.94, new 74.89, H 77.80. On the embedded
backbone and scenes (the default) a run takes about half a minute on two cores.
"""

from experiments.configs import default


def get_config():
    """The paper's settings."""
    return default.get_config("pro_mpt")
