"""Encodes many texts with frozen CLIP: in chunks, each text once, kept on disk.

Features are kept in the user's cache directory, by a digest of the texts, the text tower and its
compute type. A damaged file is computed again.
"""

import functools
import hashlib
import json
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from jaxtyping import Array, Float

from prompt_jax.cli import hosts, progress
from prompt_jax.clip import CLIP, Frozen, normalize, tokenizer
from prompt_jax.clip.packing import PackedTokens, pack_captions
from prompt_jax.clip.text import Cache
from prompt_jax.errors import PromptError, shorten
from prompt_jax.mesh import AXES, replicate, size
from prompt_jax.prompts import encode_packed
from prompt_jax.storage import user_cache
from prompt_jax.storage.files import read_bytes, write_bytes

AT_ONCE = 1024
"""Texts of a chunk; the activations of a ViT-B/16's text tower then take about 200 MB."""

LEAST_KEPT = 256
"""Fewer texts are encoded in seconds, and are not kept on disk."""

MANY = 20_000  # texts from which on a progress bar is shown
MOST_BYTES = 2**34
_FORMAT = 1


def encode_each(
    clip: CLIP, frozen: Frozen, texts: Sequence[str], what: str = "texts"
) -> Float[Array, "texts dim"]:
    """Encodes texts; the features are L2-normalized.

    Args:
        clip, frozen: the backbone.
        texts: N texts; equal ones are encoded once.
        what: their name in messages.

    Raises:
        PromptError: a text is too long for the text tower.
    """
    return encode_means(clip, frozen, [(text,) for text in texts], what)


def encode_means(
    clip: CLIP, frozen: Frozen, groups: Sequence[Sequence[str]], what: str = "texts"
) -> Float[Array, "groups dim"]:
    """Encodes groups of texts; returns the mean of each group's L2-normalized features.

    Only the means and one chunk of features are in memory.

    Args:
        clip, frozen: the backbone.
        groups: G groups of at least one text; a text counts as often as its group has it.
        what: the texts' name in messages.

    Returns:
        float32[G, d]; the means are not normalized again.

    Raises:
        PromptError: a text is too long for the text tower, or a group is empty.
    """
    for number, group in enumerate(groups):
        if not group:
            raise PromptError(f"{what}: group {number} has no texts")
    sos = _encode_sos(clip, frozen)
    if isinstance(sos[0][0], jax.core.Tracer):
        return _traced(clip, frozen, sos, groups, what)
    path = _path(clip, frozen, groups)
    kept = _read(path, (len(groups), clip.config.embed_dim))
    # All hosts run the same programs.
    if not all(hosts.gather("kept texts", kept is not None)):
        kept = _encode(clip, frozen, sos, groups, what)
        if hosts.is_first():
            _write(path, kept)
    return jnp.asarray(kept)


def _encode(clip, frozen, sos, groups, what) -> np.ndarray:
    """Returns the means, computed on the host: the order of the sums is always the same."""
    means = np.zeros((len(groups), clip.config.embed_dim), np.float32)
    users, texts = _users(groups)
    title = f"encoding {what}" if len(texts) >= MANY else ""
    done = 0
    with progress.bar(title, len(texts)) if title else progress.silence() as advance:
        for chunk, packed in _chunks(clip, texts, what):
            features = np.asarray(_run(clip, frozen, sos, packed).addressable_data(0))
            for text, row in zip(chunk, features, strict=True):
                for group in users[text]:
                    means[group] += row
            done += len(chunk)
            advance(done, "")
    means /= np.array([len(group) for group in groups], np.float32)[:, None]
    return means


def _traced(clip, frozen, sos, groups, what):
    """Returns the means inside a traced function, for the shapes of a plan."""
    users, texts = _users(groups)
    total = jnp.zeros((len(groups), clip.config.embed_dim), jnp.float32)
    for chunk, packed in _chunks(clip, texts, what):
        features = _run(clip, frozen, sos, packed)
        pairs = [(row, group) for row, text in enumerate(chunk) for group in users[text]]
        rows, places = np.array(pairs).T
        total = total.at[places].add(features[rows])
    return total / np.array([len(group) for group in groups], np.float32)[:, None]


def _users(groups: Sequence[Sequence[str]]) -> tuple[dict[str, list[int]], list[str]]:
    """Returns the groups of each distinct text, and the distinct texts."""
    users: dict[str, list[int]] = {}
    for number, group in enumerate(groups):
        for text in group:
            users.setdefault(text, []).append(number)
    return users, list(users)


def _chunks(
    clip: CLIP, texts: Sequence[str], what: str
) -> Iterator[tuple[Sequence[str], PackedTokens]]:
    """Yields the texts in chunks, packed."""
    room = clip.config.context_length - 1  # without SOS
    parts = size(clip.mesh, *AXES)
    for start in range(0, len(texts), AT_ONCE):
        chunk = texts[start : start + AT_ONCE]
        rows = [[*tokenizer.encode(text), tokenizer.EOT] for text in chunk]
        for text, row in zip(chunk, rows, strict=True):
            if len(row) > room:
                raise PromptError(
                    f"{what}: {shorten(text)} takes {len(row) + 1} tokens; the text tower has "
                    f"{room + 1}: shorten it"
                )
        yield chunk, pack_captions(rows, parts)


@functools.partial(jax.jit, static_argnums=0)
def _encode_sos(clip: CLIP, frozen: Frozen) -> Cache:
    sos = jnp.asarray([tokenizer.SOS], jnp.int32)
    return clip.prefill(frozen, clip.embed_text(frozen, sos))


@functools.partial(jax.jit, static_argnums=0)
def _run(clip: CLIP, frozen: Frozen, sos: Cache, texts: PackedTokens) -> Array:
    return replicate(clip.mesh, normalize(encode_packed(clip, frozen, sos, texts)))


def _path(clip: CLIP, frozen: Frozen, groups: Sequence[Sequence[str]]) -> pathlib.Path | None:
    """Returns the file of these features, None if they are not kept."""
    if sum(map(len, groups)) < LEAST_KEPT:
        return None
    leaves = jax.tree.leaves_with_path(frozen["text"])
    if not all(isinstance(x, np.ndarray) or x.is_fully_addressable for _, x in leaves):
        return None  # weights that are split over hosts
    facts = [_FORMAT, repr(clip.config), clip.dtype.name, clip.precision, jax.default_backend()]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for place, array in leaves:
        digest.update(f"{jax.tree_util.keystr(place)}{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    for group in groups:
        digest.update(json.dumps(list(group), ensure_ascii=False).encode("utf-8"))
    try:
        return user_cache.find("texts") / f"{digest.hexdigest()}.safetensors"
    except OSError as error:
        _note(f"features of texts are not kept: {error.filename}: {error.strerror}")
        return None


def _read(path: pathlib.Path | None, shape: tuple[int, int]) -> np.ndarray | None:
    if path is None or not path.exists():
        return None
    try:
        features: Any = safetensors.numpy.load(read_bytes(path, MOST_BYTES))["features"]
        right = features.shape == shape and features.dtype == np.float32
        if right and np.isfinite(features).all():
            return features
        reason = "it has other sizes or values"
    # safetensors raises its own error class.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    _note(f"{path} is computed again: {reason}")
    return None


def _write(path: pathlib.Path | None, features: np.ndarray) -> None:
    if path is None:
        return
    try:
        write_bytes(path, safetensors.numpy.save({"features": features}))
    except OSError as error:
        _note(f"features of texts are not kept: {path}: {error.strerror}")


def _note(words: str) -> None:
    print(f"note: {words}", file=sys.stderr, flush=True)
