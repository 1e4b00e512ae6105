"""ViLT-CLIP's independent prompts in both towers (Wang et al., AAAI 2024, eqs. 5, 7 and 8).

Prompts take slots among the tokens: each of the first layers overwrites them, after the last of
these they flow on.
"""

from torch import Tensor

from prompt_jax.export.torch_parts.clip import normalize
from prompt_jax.export.torch_parts.encoders import Encoders


class Independent(Encoders):
    """Text prompts and vision prompts that do not know of each other."""

    def text_slots(self) -> int:
        """How many slots of the text tower prompts take."""
        return self.settings["text_prompts"]

    def text_prompts(self) -> Tensor | None:
        """All layers', float[J, b, d_l]; None for none."""
        return getattr(self.prompts, "text_prompts", None)

    def vision_prompts(self) -> Tensor | None:
        """All layers', float[J, b, d_v]; None for none."""
        return getattr(self.prompts, "vision_prompts", None)

    def encode_frames(self, frames: Tensor) -> Tensor:
        """Features float[N, d], not normalised, of frames seen through the vision prompts."""
        prompts, tower = self.vision_prompts(), self.clip.visual
        if prompts is None or self.settings["vision_prompt_before_ln_pre"]:
            return self.clip.encode_image(frames, prompts)
        return tower.run(tower.embed(frames), dict(enumerate(prompts)))

    def encode_ids(self, ids: Tensor) -> Tensor:
        """Features float[N, d], normalised, of texts behind SOS and the prompts."""
        prompts = self.text_prompts()
        if prompts is None:
            return normalize(self.clip.encode_text(ids))
        return normalize(self.clip.encode_text(ids, prompts[0], dict(enumerate(prompts[1:], 1))))


load = Independent.load
