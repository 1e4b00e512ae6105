"""MoCoOp with trained LayerNorms of the image tower (Du et al., 2024)."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from prompt_jax.export.torch_parts.block_names import load_norms
from prompt_jax.export.torch_parts.clip import CLIP
from prompt_jax.export.torch_parts.mocoop import MoCoOp


class MoCoOpNorms(MoCoOp):
    """A mixture of contexts, with trained LayerNorms in place of the backbone's."""

    def __init__(self, clip: CLIP, arrays: Mapping[str, Tensor], config: Mapping[str, Any]):
        """Takes the arguments of `Classifier`; loads the LayerNorms into the backbone.

        Raises:
            ValueError: the backbone has no array of such a name.
        """
        super().__init__(clip, load_norms(clip, arrays), config)


load = MoCoOpNorms.load
