"""ViLT-CLIP's independent prompts in both towers (Wang et al., AAAI 2024, eqs. 5, 7 and 8).

Prompts take positions among the tokens. Each of the first layers replaces them with its own;
later layers transform those of the last.
"""

from torch import Tensor

from prompt_jax.export.torch_parts.clip import normalize
from prompt_jax.export.torch_parts.encoders import Encoders


class Independent(Encoders):
    """A CLIP with independent text and vision prompts."""

    def text_slots(self) -> int:
        return self.settings["text_prompts"]

    def text_prompts(self) -> Tensor | None:
        """Returns the text prompts of all layers, float[J, b, d_l], or None."""
        return getattr(self.prompts, "text_prompts", None)

    def vision_prompts(self) -> Tensor | None:
        """Returns the vision prompts of all layers, float[J, b, d_v], or None."""
        return getattr(self.prompts, "vision_prompts", None)

    def encode_frames(self, frames: Tensor) -> Tensor:
        """Returns features float[N, d], not normalized, of frames with the vision prompts."""
        prompts, tower = self.vision_prompts(), self.clip.visual
        if prompts is None or self.settings["vision_prompt_before_ln_pre"]:
            return self.clip.encode_image(frames, prompts)
        return tower.run(tower.embed(frames), dict(enumerate(prompts)))

    def encode_ids(self, ids: Tensor) -> Tensor:
        """Returns features float[N, d], L2-normalized, of [SOS][prompts][text]."""
        prompts = self.text_prompts()
        if prompts is None:
            return normalize(self.clip.encode_text(ids))
        return normalize(self.clip.encode_text(ids, prompts[0], dict(enumerate(prompts[1:], 1))))


load = Independent.load
