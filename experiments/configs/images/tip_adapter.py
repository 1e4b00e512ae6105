"""Tip-Adapter (ECCV 2022): a cache of the shots' features, nothing trained.

    python -m experiments.main --config=experiments/configs/images/tip_adapter.py \\
        --workdir=results/tip

Its authors publish few-shot curves, and nothing in base-to-novel.
"""

from experiments.configs import recipes

get_config = recipes.of("tip_adapter")
