"""Tip-Adapter (ECCV 2022): a cache of the shots' features, without training.

    python -m experiments.main --config=experiments/configs/images/tip_adapter.py \\
        --workdir=results/tip

The paper has few-shot curves and no base-to-novel figures.
"""

from experiments.configs import recipes

get_config = recipes.of("tip_adapter")
