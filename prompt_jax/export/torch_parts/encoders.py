"""What all methods for videos and texts have in common: two encoders."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from prompt_jax.export.torch_parts.classifier import encode
from prompt_jax.export.torch_parts.clip import normalize
from prompt_jax.export.torch_parts.reading import EOT
from prompt_jax.export.torch_parts.videos import OfVideos


class Encoders(OfVideos):
    """Two encoders whose features' products are similarities.

    Unless a method has other ones, texts are CLIP's, and every frame is an image of its own.
    """

    def prepare(self) -> None:
        """The classes' text features float[K, d]."""
        [template] = self.config["tokens"]
        self.keep("classes", self.encode_ids(self.tokens(template, self.text_slots())))

    def text_slots(self) -> int:
        """How many slots of the text tower prompts take."""
        return 0

    def scale(self) -> Tensor | float:
        """1/τ, what products of features are multiplied by."""
        temperature = self.settings.get("temperature")
        return 1 / temperature if temperature else self.clip.logit_scale.exp()

    def encode_frames(self, frames: Tensor) -> Tensor:
        """Features float[N, d], not normalised, of frames float[N, 3, S, S]."""
        return self.clip.encode_image(frames)

    def encode_videos(self, videos: Tensor) -> Tensor:
        """Features float[B, d] of videos float[B, F, 3, S, S]."""
        frames = self.encode_frames(videos.flatten(0, 1))
        return self.pool(frames.unflatten(0, videos.shape[:2]))

    def pool(self, features: Tensor) -> Tensor:
        """Videos' features float[B, d] of their frames', float[B, F, d]."""
        if self.settings["pooling"] == "mean_then_norm":
            return normalize(features.mean(dim=1))
        mean = normalize(features).mean(dim=1)
        return normalize(mean) if self.settings["renormalize_video"] else mean

    def encode_ids(self, ids: Tensor) -> Tensor:
        """Features float[N, d], normalised, of token ids int[N, L], zeros behind EOT."""
        return normalize(self.clip.encode_text(ids))

    def encode_texts(self, texts: Tensor | Iterable[str], tokenize: Any = None) -> Tensor:
        """Features float[N, d], normalised; a text is cut to the slots that prompts leave.

        Args:
            texts: N texts, or their token ids int[N, L] with SOS and EOT.
            tokenize: see `set_classes`; where texts are no ids and it has no tokenizer yet.

        Raises:
            ValueError: there is no tokenizer.
        """
        tokenize = tokenize or self.tokenize
        if isinstance(texts, Tensor):
            rows = [row[: row.index(EOT) + 1] for row in texts.tolist()]
        elif tokenize is None:
            raise ValueError("texts need a tokenizer, e.g. transformers' CLIPTokenizer")
        else:
            rows = [encode(tokenize, text) for text in texts]
        room = self.clip.context_length - self.text_slots()
        return self.encode_ids(
            self.pad([row if len(row) <= room else [*row[: room - 1], EOT] for row in rows])
        )

    def similarities(
        self, videos: Tensor, texts: Tensor | Iterable[str], tokenize: Any = None
    ) -> Tensor:
        """Cosine/τ of every text with every video, float[N, B]; see both encoders."""
        return self.scale() * self.encode_texts(texts, tokenize) @ self.encode_videos(videos).T

    def forward(self, videos: Tensor) -> Tensor:
        """Logits float[B, K] of videos float[B, F, 3, S, S].

        Raises:
            ValueError: there are no classes, as of a model that was trained on captions.
        """
        if not self.names:
            raise ValueError(
                "the model was trained on captions, not on classes: ask for similarities(videos, "
                "texts), or name classes by set_classes"
            )
        return self.scale() * self.encode_videos(videos) @ self.classes.T
