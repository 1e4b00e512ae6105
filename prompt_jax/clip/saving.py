"""Saves CLIP checkpoints for transformers."""

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from prompt_jax.clip.checkpoints.layouts import from_tree, hugging_face_layout, to_tree
from prompt_jax.clip.config import CLIPConfig
from prompt_jax.errors import PromptError


def save_hugging_face(
    config: CLIPConfig,
    frozen: dict[str, Any],
    folder: str | Path,
    dtype: str = "float32",
    overwrite: bool = False,
) -> None:
    """Writes config.json and model.safetensors for transformers' `CLIPModel.from_pretrained`.

    Each file is replaced atomically, after both have been written.

    Args:
        config: the architecture.
        frozen: parameters as `load` returns them.
        folder: output directory; created if absent.
        dtype: "float32" or "float16".
        overwrite: whether to replace existing files.

    Raises:
        PromptError: a file exists, `dtype` is not supported, the parameters do not fit `config` or
            `dtype`, or the directory cannot be written.
    """
    if dtype not in ("float32", "float16"):
        raise PromptError(f"dtype={dtype!r} is not one of 'float32', 'float16'")
    folder = Path(folder)
    files = {name: folder / name for name in ("config.json", "model.safetensors")}
    present = [path.name for path in files.values() if path.exists()]
    if present and not overwrite:
        raise PromptError(f"{folder} already holds {', '.join(present)}; pass overwrite=True")
    layout = hugging_face_layout(config.image_layers, config.text_layers)
    with np.errstate(over="ignore"):
        state = {name: a.astype(dtype) for name, a in from_tree(layout, frozen).items()}
    to_tree(layout, config, state)
    content = json.dumps(_hugging_face_content(config, dtype), indent=2) + "\n"
    partial = {name: folder / f"{name}.partial" for name in files}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(state, partial["model.safetensors"], metadata={"format": "pt"})
        partial["config.json"].write_text(content, encoding="utf-8")
        for name, path in partial.items():
            path.replace(files[name])
    except (OSError, SafetensorError) as error:
        for path in partial.values():
            with contextlib.suppress(OSError):
                path.unlink()
        raise PromptError(f"{folder} cannot be written: {error}") from None


def _hugging_face_content(config: CLIPConfig, dtype: str) -> dict[str, Any]:
    shared = {"hidden_act": config.activation, "projection_dim": config.embed_dim}
    shared |= {"layer_norm_eps": 1e-5}
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": config.embed_dim,
        "torch_dtype": dtype,
        "text_config": {
            "model_type": "clip_text_model",
            "hidden_size": config.text_width,
            "intermediate_size": config.text_mlp,
            "num_hidden_layers": config.text_layers,
            "num_attention_heads": config.text_heads,
            "max_position_embeddings": config.context_length,
            "vocab_size": config.vocab_size,
            "bos_token_id": config.eot - 1,
            "eos_token_id": config.eot,
            **shared,
        },
        "vision_config": {
            "model_type": "clip_vision_model",
            "hidden_size": config.image_width,
            "intermediate_size": config.image_mlp,
            "num_hidden_layers": config.image_layers,
            "num_attention_heads": config.image_heads,
            "image_size": config.image_size,
            "patch_size": config.patch_size,
            "num_channels": 3,
            **shared,
        },
    }
