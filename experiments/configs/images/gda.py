"""GDA (ICLR 2024), base-to-novel: zero-shot plus Gaussian discriminant analysis, no training.

    python -m experiments.main --config=experiments/configs/images/gda.py --workdir=results/gda

Published, ViT-B/16, average of 11 data sets: base 83.96, new 74.53, H 78.72.
"""

from experiments.configs import recipes

get_config = recipes.of("gda")
