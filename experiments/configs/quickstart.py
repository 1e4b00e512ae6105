"""The quickstart: every method's own config, on one small shifted task, three seeds."""

from ml_collections import ConfigDict

from experiments.configs import cocoop, coop, pro_mpt, zero_shot

DOMAIN = "silhouette"
CLASSES = 60
SEEDS = (1, 2, 3)


def get_configs() -> list[ConfigDict]:
    """Twelve configs: four methods by three seeds."""
    configs = []
    for module in (zero_shot, coop, cocoop, pro_mpt):
        for seed in SEEDS:
            config = module.get_config()
            config.seed = seed
            config.data.domain = DOMAIN
            config.data.num_classes = CLASSES
            config.data.num_threads = 0
            configs.append(config)
    return configs
