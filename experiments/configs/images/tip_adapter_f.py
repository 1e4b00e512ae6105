"""Tip-Adapter-F (ECCV 2022): Tip-Adapter with trained keys, AdamW 1e-3, batch 256, 20 epochs.

    python -m experiments.main --config=experiments/configs/images/tip_adapter_f.py \\
        --workdir=results/tip_f

The paper has few-shot curves and no base-to-novel figures. The authors' code selects the best epoch
on the test images; this implementation uses the last.
"""

from experiments.configs import recipes

get_config = recipes.of("tip_adapter_f")
