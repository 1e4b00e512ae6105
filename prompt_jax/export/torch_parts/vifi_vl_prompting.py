"""ViFi-CLIP's prompts in both towers (Rasheed et al., CVPR 2023, section 3.3)."""

import torch
from torch import Tensor

from prompt_jax.export.torch_parts.clip import normalize
from prompt_jax.export.torch_parts.vilt_independent import Independent


class VLPrompting(Independent):
    """A CLIP with prompts in both towers; text prompts replace the first fixed context words."""

    def words(self) -> list[int]:
        """Returns token ids of the fixed words; none if there are more prompts than words."""
        ids = self.config["word_ids"]
        return ids if self.settings["text_prompts"] <= len(ids) else []

    def text_slots(self) -> int:
        """Returns the number of text positions that prompts and fixed words take."""
        return max(self.settings["text_prompts"], len(self.words()))

    def encode_ids(self, ids: Tensor) -> Tensor:
        """Returns features float[N, d], L2-normalized, of [SOS][prompts][fixed words][text]."""
        prompts = self.text_prompts()
        number = 0 if prompts is None else prompts.shape[1]
        fixed = torch.tensor(self.words()[number:], dtype=torch.long, device=ids.device)
        context = self.clip.token_embedding(fixed)
        if prompts is None:
            return normalize(self.clip.encode_text(ids, context))
        context, deep = torch.cat([prompts[0], context]), dict(enumerate(prompts[1:], 1))
        return normalize(self.clip.encode_text(ids, context, deep))


load = VLPrompting.load
