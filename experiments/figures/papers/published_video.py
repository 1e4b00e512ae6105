"""Lists the retrieval figures published by VoP (Huang et al., CVPR 2023).

They are in the methods' records: text-to-video, then video-to-text, each R@1, R@5, R@10, mean and
median rank.
"""

from experiments.figures.papers.published import rows
from prompt_jax import methods

SOURCE = "VoP (CVPR 2023), Table 1"
DATASET = "msrvtt_9k"  # 9,000 training videos, test set 1k-A
BACKBONE_NAMES = ("ViT-B/32", "openai/clip-vit-base-patch32")


def _find(method: str) -> tuple[float, ...]:
    found = [row for row in rows("videos", method, "retrieval") if row.source == SOURCE]
    return tuple(one for row in found for one in row.figures[DATASET] if one is not None)


MSRVTT_9K = {method: _find(method) for method in methods.ENCODERS}
