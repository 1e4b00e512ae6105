"""Methods of videos and texts under test: settings, expected figures, arrays."""

import dataclasses
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from reference import FOLDER, FROZEN, TINY

from prompt_jax import methods
from prompt_jax.clip.packing import pack_captions
from prompt_jax.clip.vocabulary.captions import tokenize_captions
from prompt_jax.methods import encoders
from prompt_jax.methods.video import adapters, vop, vop_c, vop_f, vop_p

# Figures contain evenly spaced entries of large arrays; see tests/fixtures/tiny_a/make.py.
LARGE, STRIDE = 1024, 7


def _load_figures() -> dict[str, dict[str, Any]]:
    with np.load(FOLDER / "clips.npz") as arrays:
        flat = {tuple(key.split("/")): arrays[key] for key in arrays}
    figures = flax.traverse_util.unflatten_dict(flat)
    for name in ("vop_f_c", "vop_f_c_position"):
        figures[name]["param"] |= {part: figures["vop_c"]["param"][part] for part in ("lstm", "fc")}
    return figures


FIGURES = _load_figures()
VIDEOS = jnp.asarray(FIGURES["inputs"]["clips"])
CAPTIONS: list[str] = FIGURES["inputs"]["captions"].tolist()
FRAMES = VIDEOS.shape[1]


class VideoRow(NamedTuple):
    """A method, its settings, and the expected figures."""

    method: str
    settings: Any
    figures: str


RAW: dict[str, Any] = {"renormalize_video": False}
FOUR: dict[str, Any] = {"text_prompts": 4, **RAW}
SPECIFIC: dict[str, Any] = {"vision_prompts": 2, **FOUR}
JOINT: dict[str, Any] = {"video_prompts": 4, "frames": FRAMES}
POSITION: dict[str, Any] = {"position_prompts": 2, "frames": FRAMES, **SPECIFIC}
CONTEXT: dict[str, Any] = {"context_prompts": 2, **SPECIFIC}
ROWS = [
    VideoRow("vop", vop.Settings(vision_prompts=4, **FOUR), "vop"),
    VideoRow("vop", vop.Settings(vision_prompts=4, text_prompts=4), "vop_renorm"),
    VideoRow("vop_p", vop_p.Settings(**POSITION), "vop_p"),
    VideoRow("vop_c", vop_c.Settings(**CONTEXT), "vop_c"),
    *(
        VideoRow(method, settings(**given, frame_position=bool(name)), f"{method}{name}")
        for name in ("", "_position")
        for method, settings, given in (
            ("vop_f", vop_f.Settings, JOINT | FOUR | {"vision_prompts": 4}),
            ("vop_f_p", vop_f.PositionSettings, JOINT | POSITION),
            ("vop_f_c", vop_f.ContextSettings, JOINT | CONTEXT),
        )
    ),
    *(
        VideoRow(method, encoders.VideoSettings(**RAW), f"vop_{method}")
        for method in ("full", "bias", "proj", "partial")
    ),
    VideoRow("adapter_attn", adapters.Settings(hidden=8, **RAW), "vop_adapter_attn"),
    VideoRow("adapter_ffn", adapters.MlpSettings(hidden=8, **RAW), "vop_adapter_ffn"),
]
BY_FIGURES = {row.figures: row for row in ROWS}


def task_of(row: VideoRow, **changed: Any) -> methods.Task:
    """Returns the row's task on captions, with these settings changed."""
    method = methods.retrieve(methods.get_encoders(row.method))
    settings = dataclasses.replace(row.settings, **changed)
    return methods.make_task(method, TINY, FROZEN, (), settings)


def prompts_of(row: VideoRow) -> methods.Prompts:
    """Returns the parameters that the row's figures were computed with."""
    if "param" in FIGURES[row.figures]:
        return jax.tree.map(jnp.asarray, FIGURES[row.figures]["param"])
    return methods.get_encoders(row.method).init(jax.random.key(0), task_of(row))


def batch_of(row: VideoRow) -> dict[str, Any]:
    """Returns three videos and their captions."""
    prompts = methods.get_encoders(row.method).text_prompts(row.settings)
    tokens = tokenize_captions(CAPTIONS, prompts).tokens
    return {"image": VIDEOS, "text": pack_captions(tokens), "label": jnp.arange(len(VIDEOS))}


def sampled(array: Any) -> np.ndarray:
    """Returns the entries of a trained array that the figures contain."""
    array = np.asarray(array)
    return array.ravel()[::STRIDE] if array.size > LARGE else array


def frames_of(method: Any, settings: Any, usual: int) -> int:
    """Returns the frames of a method's videos: those of its settings, or `usual` or a few more.

    Args:
        method: a `Method` or `Encoders`.
        settings: its settings.
        usual: the least number of frames.
    """
    group = method.frame_groups(settings) or 1
    return getattr(settings, "frames", -(-usual // group) * group)
