"""Checks that a backbone's weights are those that OpenAI published."""

import hashlib
import re
from pathlib import Path

from prompt_jax.clip import loading
from prompt_jax.clip.checkpoints.hub import HUB_IDS, OPENAI_SHA256, download, find_weights
from prompt_jax.errors import PromptError

_SHA256 = re.compile(r"[0-9a-f]{64}")


def check(backbone: str, wanted: str) -> str:
    """Returns a sentence on how the weights were checked.

    OpenAI's own file has the SHA-256 of its address. Of a Hugging Face model, the file in the
    cache is named by the SHA-256 that the hub lists.

    Args:
        backbone: `config.backbone`.
        wanted: the CLIP of the published figures, a key of `OPENAI_SHA256`.

    Raises:
        PromptError: the weights are others, or there is no published hash to check them by.
    """
    if backbone == wanted == "embedded":
        return "Weights: the embedded CLIP's, which are part of the package."
    named = next((name for name, hub in HUB_IDS.items() if backbone in (name, hub)), None)
    path = loading.existing(backbone)
    if path is None and named is None:
        loading.refuse_path(backbone)
    if path is None and named != wanted:
        raise PromptError(f"--backbone={backbone}: the published figures are of {wanted}")
    if path is None:
        path = download(HUB_IDS[wanted])
    if path.is_dir():
        return _check_cached(find_weights(path), backbone)
    return _check_file(path, wanted)


def _check_file(path: Path, wanted: str) -> str:
    found = _sha256(path)
    of = next((name for name, known in OPENAI_SHA256.items() if known == found), None)
    if of == wanted:
        return f"Weights: {path.name} is OpenAI's {wanted}, by its SHA-256 {found[:12]}."
    if of:
        raise PromptError(f"{path} is OpenAI's {of}; the published figures are of {wanted}")
    raise PromptError(
        f"{path} is not OpenAI's {wanted}: its SHA-256 is {found[:12]}…, published is "
        f"{OPENAI_SHA256[wanted][:12]}…; download it from https://openaipublic.azureedge.net/clip/"
        f"models/{OPENAI_SHA256[wanted]}/{wanted.replace('/', '-').replace('@', '-')}.pt"
    )


def _check_cached(path: Path, backbone: str) -> str:
    listed = path.resolve().name  # the hub's cache links each file to one named by its hash
    if not _SHA256.fullmatch(listed):
        raise PromptError(
            f"--backbone={backbone}: {path.name} has no published hash to check it by; pass "
            "OpenAI's .pt file, or the name, so that it comes from the Hugging Face hub"
        )
    found = _sha256(path)
    if found != listed:
        raise PromptError(
            f"{path} is damaged: its SHA-256 is {found[:12]}…, the hub lists {listed[:12]}…; "
            "remove it from the cache and run again"
        )
    return f"Weights: {path.name} has the SHA-256 {found[:12]}… that the Hugging Face hub lists."


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PromptError(f"{path} cannot be read: {error.strerror}") from None
