"""CLIP-Adapter (IJCV 2024): a bottleneck behind the image tower, batch 32, Adam 1e-5.

    python -m experiments.main --config=experiments/configs/images/clip_adapter.py \\
        --workdir=results/clip

Its authors publish few-shot curves on ResNet-50, and nothing in base-to-novel.
"""

from experiments.configs import recipes

get_config = recipes.of("clip_adapter")
