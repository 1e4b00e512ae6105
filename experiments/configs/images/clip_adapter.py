"""CLIP-Adapter (IJCV 2024): a bottleneck after the image tower, batch 32, Adam 1e-5.

    python -m experiments.main --config=experiments/configs/images/clip_adapter.py \\
        --workdir=results/clip

The paper has few-shot curves on ResNet-50 and no base-to-novel figures.
"""

from experiments.configs import recipes

get_config = recipes.of("clip_adapter")
