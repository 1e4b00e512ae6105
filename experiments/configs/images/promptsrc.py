"""PromptSRC (ICCV 2023), base-to-novel: 4 + 4 prompts in 9 layers, batch 4, SGD 0.0025, 20 epochs.

    python -m experiments.main --config=experiments/configs/images/promptsrc.py \\
        --workdir=results/promptsrc

Published, ViT-B/16, average of 11 data sets: base 84.26, new 76.10, H 79.97.
"""

from experiments.configs import recipes

get_config = recipes.of("promptsrc")
