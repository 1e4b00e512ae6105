"""Parts of the backbone that were trained, in place of its own (VoP, Table 1; ViFi-CLIP)."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from prompt_jax.export.torch_parts.block_names import as_openai
from prompt_jax.export.torch_parts.clip import CLIP
from prompt_jax.export.torch_parts.encoders import Encoders


class Tuned(Encoders):
    """Plain frames and texts, by the backbone as it was trained."""

    def __init__(self, clip: CLIP, arrays: Mapping[str, Tensor], config: Mapping[str, Any]):
        """See `Classifier`; the backbone takes the arrays."""
        unknown = clip.load_state_dict(as_openai(arrays), strict=False).unexpected_keys
        if unknown:
            raise ValueError(f"the backbone has no arrays {', '.join(unknown)}")
        super().__init__(clip, {}, config)


load = Tuned.load
