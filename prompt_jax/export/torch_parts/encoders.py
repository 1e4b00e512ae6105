"""The base class of methods with a video encoder and a text encoder."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from prompt_jax.export.torch_parts.classifier import encode
from prompt_jax.export.torch_parts.clip import normalize
from prompt_jax.export.torch_parts.reading import EOT
from prompt_jax.export.torch_parts.videos import OfVideos


class Encoders(OfVideos):
    """A video encoder and a text encoder whose features are compared by dot products.

    By default, texts are encoded by CLIP, and each frame as an image.
    """

    def prepare(self) -> None:
        """Computes the class features float[K, d]."""
        [template] = self.config["tokens"]
        self.keep("classes", self.encode_ids(self.tokens(template, self.text_slots())))

    def text_slots(self) -> int:
        """Returns the number of text positions that prompts take."""
        return 0

    def scale(self) -> Tensor | float:
        """Returns 1/τ, by which dot products of features are scaled."""
        temperature = self.settings.get("temperature")
        return 1 / temperature if temperature else self.clip.logit_scale.exp()

    def encode_frames(self, frames: Tensor) -> Tensor:
        """Returns features float[N, d], not normalized, of frames float[N, 3, S, S]."""
        return self.clip.encode_image(frames)

    def encode_videos(self, videos: Tensor) -> Tensor:
        """Returns features float[B, d] of videos float[B, F, 3, S, S]."""
        frames = self.encode_frames(videos.flatten(0, 1))
        return self.pool(frames.unflatten(0, videos.shape[:2]))

    def pool(self, features: Tensor) -> Tensor:
        """Pools frame features float[B, F, d] into video features float[B, d]."""
        if self.settings["pooling"] == "mean_then_norm":
            return normalize(features.mean(dim=1))
        mean = normalize(features).mean(dim=1)
        return normalize(mean) if self.settings["renormalize_video"] else mean

    def encode_ids(self, ids: Tensor) -> Tensor:
        """Returns features float[N, d], L2-normalized, of zero-padded token ids int[N, L]."""
        return normalize(self.clip.encode_text(ids))

    def encode_texts(self, texts: Tensor | Iterable[str], tokenize: Any = None) -> Tensor:
        """Returns features float[N, d], L2-normalized; texts are cut to the context length.

        Args:
            texts: N texts, or their token ids int[N, L] with SOS and EOT.
            tokenize: see `set_classes`; needed for texts unless `set_classes` got one.

        Raises:
            ValueError: there is no tokenizer.
        """
        tokenize = tokenize or self.tokenize
        if isinstance(texts, Tensor):
            rows = [row[: row.index(EOT) + 1] for row in texts.tolist()]
        elif tokenize is None:
            raise ValueError("texts need a tokenizer; pass e.g. transformers' CLIPTokenizer")
        else:
            rows = [encode(tokenize, text) for text in texts]
        room = self.clip.context_length - self.text_slots()
        return self.encode_ids(
            self.pad([row if len(row) <= room else [*row[: room - 1], EOT] for row in rows])
        )

    def similarities(
        self, videos: Tensor, texts: Tensor | Iterable[str], tokenize: Any = None
    ) -> Tensor:
        """Returns cos/τ of every text with every video, float[N, B]."""
        return self.scale() * self.encode_texts(texts, tokenize) @ self.encode_videos(videos).T

    def forward(self, videos: Tensor) -> Tensor:
        """Returns logits float[B, K] of videos float[B, F, 3, S, S].

        Raises:
            ValueError: the model was trained on captions, and no classes are set.
        """
        if not self.names:
            raise ValueError(
                "the model was trained on captions, not on classes; call similarities(videos, "
                "texts), or set classes by set_classes"
            )
        return self.scale() * self.encode_videos(videos) @ self.classes.T
