"""Writes a trained model as a checkpoint of the reference implementation."""

import collections
import pathlib
import re
from typing import Any

import numpy as np

from prompt_jax.clip import Frozen, loading, tokenizer
from prompt_jax.errors import PromptError, quote
from prompt_jax.exchange import layouts, words
from prompt_jax.exchange.layouts import LAYOUTS
from prompt_jax.exchange.reading import MOST_WITH_WORDS
from prompt_jax.models.saved import Saved, check_sizes
from prompt_jax.storage.files import sync_folder

_NAME = re.compile(r"model\.pth\.tar-(\d{1,6})")
BEST = "model-best.pth.tar"


def find_epoch(path: pathlib.Path) -> int | None:
    """Returns the `--load-epoch` of a file name; None for the best epoch.

    Raises:
        PromptError: the name is not one that Dassl loads.
    """
    if path.name == BEST:
        return None
    if found := _NAME.fullmatch(path.name):
        return int(found[1])
    raise PromptError(
        f"{path.name} is not a name that Dassl loads; use model.pth.tar-N, with the epoch N, or "
        f"{BEST}"
    )


def load_backbone(model: Saved, backbone: str = "") -> Frozen:
    """Loads the parameters of the CLIP that a model was trained on.

    Raises:
        PromptError: the CLIP cannot be read, or is not the model's.
    """
    source = backbone or model.backbone
    sizes, frozen = loading.load(source, model.sizes.activation)
    if loading.fingerprint(sizes, frozen) != model.backbone_hash:
        raise PromptError(
            f"{source} is not the CLIP that this model was trained on; pass that one (--backbone)"
        )
    check_sizes(model, sizes, source)
    return frozen


def to_state(saved: Saved, frozen: Frozen) -> layouts.State:
    """Returns the reference's state dict, float32, with its names and in its order.

    MaPLe's has no frozen CLIP; the reference keeps its own if the file has none.

    Raises:
        PromptError: the method or its settings are not supported by the reference.
    """
    if saved.method not in LAYOUTS:
        raise PromptError(
            f"{saved.method} cannot be exported to a reference layout; supported are "
            f"{', '.join(LAYOUTS)}"
        )
    context = np.asarray(saved.prompts["context"])
    table = np.asarray(frozen["text"]["token_embedding"])
    after = words.tokens_after(
        saved.class_names, context.shape[-2], _front(saved), saved.sizes.context_length
    )
    trained = layouts.from_prompts(saved.method, saved.prompts)
    prefix = LAYOUTS[saved.method].prefix
    ordered = {"ctx": trained.pop("ctx"), **words.embed(after, table), **trained}
    return {prefix + name: np.asarray(a, np.float32) for name, a in ordered.items()}


def _front(saved):
    """Returns MaPLe's words before the names if some of them are after the context, else ""."""
    if saved.method != "maple":
        return ""
    front, length = saved.settings["context_words"], saved.settings["context_length"]
    fixed = len(tokenizer.encode(front)) > length
    if fixed and length > MOST_WITH_WORDS:
        raise PromptError(
            f"its words {front!r} have more tokens than its {length} context vectors; the "
            f"reference supports this for at most {MOST_WITH_WORDS} vectors"
        )
    return front if fixed else ""


def options(saved: Saved) -> str:
    """Returns the reference's command-line options for a model, quoted for a shell."""
    context, front = np.asarray(saved.prompts["context"]), _front(saved)
    section = f"TRAINER.{LAYOUTS[saved.method].trainer.upper()}"
    values: dict[str, Any] = {"N_CTX": context.shape[-2], "CTX_INIT": front}
    if saved.method == "coop":
        values["CSC"] = saved.settings["class_specific"]
        values["CLASS_TOKEN_POSITION"] = saved.settings["name_position"]
    if saved.method == "maple":
        values["PROMPT_DEPTH"] = 1 + len(saved.prompts["deep_context"])
    return " ".join(f"{section}.{name} {quote(value)}" for name, value in values.items())


def write(path: pathlib.Path, state: layouts.State) -> None:
    """Writes a state dict like Dassl, with torch.save; creates the directory if absent.

    Raises:
        PromptError: PyTorch is not installed, or the file exists.
        OSError: the file cannot be written.
    """
    epoch = find_epoch(path)
    if path.exists():
        raise PromptError(f"{path} already exists; move it away or choose another file")
    try:
        import torch
    except ImportError:
        raise PromptError(
            "writing this file requires PyTorch, which is not installed; install it: "
            ".venv/bin/pip install -e '.[torch]'"
        ) from None
    tensors = collections.OrderedDict(
        (name, torch.from_numpy(np.array(array, order="C"))) for name, array in state.items()
    )
    # Without an optimizer's state: the reference then initializes its own.
    checkpoint = {"state_dict": tensors, "epoch": epoch or 0, "val_result": None}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        with unfinished.open("wb") as file:
            torch.save(checkpoint, file)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
