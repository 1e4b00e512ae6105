"""Fine-tuned parts of the backbone, in place of the pretrained ones (VoP, Table 1; ViFi-CLIP)."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from prompt_jax.export.torch_parts.block_names import as_openai
from prompt_jax.export.torch_parts.clip import CLIP
from prompt_jax.export.torch_parts.encoders import Encoders


class Tuned(Encoders):
    """A fine-tuned CLIP on videos and texts."""

    def __init__(self, clip: CLIP, arrays: Mapping[str, Tensor], config: Mapping[str, Any]):
        """Takes the arguments of `Classifier`; loads the arrays into the backbone.

        Raises:
            ValueError: the backbone has no array of such a name.
        """
        unknown = clip.load_state_dict(as_openai(arrays), strict=False).unexpected_keys
        if unknown:
            raise ValueError(f"the backbone has no arrays {', '.join(unknown)}")
        super().__init__(clip, {}, config)


load = Tuned.load
