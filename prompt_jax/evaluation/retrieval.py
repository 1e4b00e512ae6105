"""Text-video retrieval: encodes each caption and video once, and compares all pairs."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from prompt_jax.clip import tokenizer
from prompt_jax.clip.packing import PackedTokens, pack_captions
from prompt_jax.errors import PromptError
from prompt_jax.evaluation.metrics import Ranks, retrieve_texts, retrieve_videos
from prompt_jax.evaluation.programs import compiled, to_host
from prompt_jax.methods import Encoders, Prompts, Task


class Directions(NamedTuple):
    """Ranks of text-to-video (t2v) and video-to-text (v2t) retrieval."""

    text_to_video: Ranks
    video_to_text: Ranks


def text_batches(
    captions: Sequence[Sequence[int]], batch_size: int = 256, devices: int = 1
) -> Iterator[PackedTokens]:
    """Yields packed batches of captions in order; the last batch is padded.

    Args:
        captions: token ids of each, from `captions.tokenize_captions`.
        batch_size: captions per batch.
        devices: number of devices that share a batch.
    """
    for start in range(0, len(captions), batch_size):
        some = list(captions[start : start + batch_size])
        yield pack_captions(some + [[tokenizer.EOT]] * (batch_size - len(some)), devices)


def encode_texts(
    encoders: Encoders, prompts: Prompts, task: Task, batches: Iterable[PackedTokens], number: int
) -> np.ndarray:
    """Encodes the first N texts as features float32[N, d].

    Args:
        encoders, prompts, task: the method.
        batches: from `text_batches`, also placed on devices.
        number: N; the rest is padding.

    Raises:
        PromptError: there are no captions.
    """
    if not number:
        raise PromptError("there are no captions to test on; check the test split")
    run = compiled(encoders.encode_texts)
    features = [to_host(run(prompts, task, batch)) for batch in batches]
    return np.concatenate(features)[:number]


def encode_videos(
    methods: Sequence[tuple[Encoders, Prompts, Task]],
    batches: Iterable[dict[str, Any]],
    number: int,
) -> list[np.ndarray]:
    """Encodes M videos with each method as features float32[M, d], in order of their rows.

    Args:
        methods: encoders, prompts and task of each; videos are read once for all.
        batches: {"image": float[B, F, H, W, 3], "row": int[B], the index of each; -1 is padding}.
        number: M.

    Raises:
        PromptError: a video is missing.
    """
    widths = [task.clip.config.embed_dim for _, _, task in methods]
    features = [np.zeros((number, width), np.float32) for width in widths]
    came = np.zeros(number, bool)
    for batch in batches:
        rows = to_host(batch["row"])
        for (encoders, prompts, task), found in zip(methods, features, strict=True):
            encoded = compiled(encoders.encode_videos)(prompts, task, batch["image"])
            found[rows[rows >= 0]] = to_host(encoded)[rows >= 0]
        came[rows[rows >= 0]] = True
    if not came.all():
        raise PromptError(
            f"{int((~came).sum())} of {number} videos were not read, e.g. video "
            f"{int(np.argmin(came))}, counted from 0: retrieval needs all of them"
        )
    return features


def evaluate(similarities: np.ndarray, video_of_text: Sequence[int] | np.ndarray) -> Directions:
    """Returns the ranks of both directions; see `metrics.summarize`.

    Args:
        similarities: float[N, M], N texts by M videos.
        video_of_text: int[N], the video of each text, from 0.

    Raises:
        PromptError: see `metrics.retrieve_texts`.
    """
    owner = np.asarray(video_of_text)
    return Directions(retrieve_videos(similarities, owner), retrieve_texts(similarities, owner))
