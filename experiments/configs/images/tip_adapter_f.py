"""Tip-Adapter-F (ECCV 2022): Tip-Adapter whose keys train, AdamW 1e-3, batch 256, 20 epochs.

    python -m experiments.main --config=experiments/configs/images/tip_adapter_f.py \\
        --workdir=results/tip_f

Its authors publish few-shot curves, and nothing in base-to-novel. Their code keeps the epoch that
is best on the test images; this keeps the last.
"""

from experiments.configs import recipes

get_config = recipes.of("tip_adapter_f")
