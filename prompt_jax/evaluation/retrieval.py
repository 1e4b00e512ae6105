"""Captions against videos: each is encoded once, then all are compared with all."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from prompt_jax.clip import tokenizer
from prompt_jax.clip.packing import PackedTokens, pack_captions
from prompt_jax.errors import PromptError
from prompt_jax.evaluation.metrics import Ranks, retrieve_texts, retrieve_videos
from prompt_jax.evaluation.programs import compiled
from prompt_jax.methods import Encoders, Prompts, Task


class Directions(NamedTuple):
    """Captions that look for their video (t2v), and videos for their captions (v2t)."""

    text_to_video: Ranks
    video_to_text: Ranks


def text_batches(
    captions: Sequence[Sequence[int]], batch_size: int = 256, devices: int = 1
) -> Iterator[PackedTokens]:
    """All captions in order, as `captions.tokenize_captions` has them; the last batch is padded.

    Args:
        captions: each one's own token ids.
        batch_size: captions a batch.
        devices: over how many devices a batch is to be split.
    """
    for start in range(0, len(captions), batch_size):
        some = list(captions[start : start + batch_size])
        yield pack_captions(some + [[tokenizer.EOT]] * (batch_size - len(some)), devices)


def encode_texts(
    encoders: Encoders, prompts: Prompts, task: Task, batches: Iterable[PackedTokens], number: int
) -> np.ndarray:
    """Features float32[N, d] of the first N texts of `text_batches`, or of those placed on devices.

    Args:
        encoders, prompts, task: the method.
        batches: gone through once.
        number: N; what comes after is padding.

    Raises:
        PromptError: there are none.
    """
    if not number:
        raise PromptError("there are no captions to test on; check the test split")
    run = compiled(encoders.encode_texts)
    features = [np.asarray(run(prompts, task, batch)) for batch in batches]
    return np.concatenate(features)[:number]


def encode_videos(
    methods: Sequence[tuple[Encoders, Prompts, Task]],
    batches: Iterable[dict[str, Any]],
    number: int,
) -> list[np.ndarray]:
    """Features float32[M, d] of M videos by each method, each video at its place in the list.

    Args:
        methods: encoders, prompts and task of each; what is read serves them all.
        batches: {"image": float[B, F, H, W, 3], "row": int[B], the place of each; -1 is padding}.
        number: M.

    Raises:
        PromptError: a video did not come: its feature would be made up.
    """
    widths = [task.clip.config.embed_dim for _, _, task in methods]
    features = [np.zeros((number, width), np.float32) for width in widths]
    came = np.zeros(number, bool)
    for batch in batches:
        rows = np.asarray(batch["row"])
        for (encoders, prompts, task), found in zip(methods, features, strict=True):
            encoded = compiled(encoders.encode_videos)(prompts, task, batch["image"])
            found[rows[rows >= 0]] = np.asarray(encoded)[rows >= 0]
        came[rows[rows >= 0]] = True
    if not came.all():
        raise PromptError(
            f"{int((~came).sum())} of {number} videos were not read, e.g. video "
            f"{int(np.argmin(came))}, counted from 0: retrieval needs them all"
        )
    return features


def evaluate(similarities: np.ndarray, video_of_text: Sequence[int] | np.ndarray) -> Directions:
    """Both directions' ranks, which `metrics.summarize` makes figures of.

    Args:
        similarities: float[N, M], N texts by M videos.
        video_of_text: int[N], the video of each text, from 0.

    Raises:
        PromptError: see `metrics.retrieve_texts`.
    """
    owner = np.asarray(video_of_text)
    return Directions(retrieve_videos(similarities, owner), retrieve_texts(similarities, owner))
