"""Malicious models of single methods, as in `hostile_models`: shots, iterations, videos."""

import numpy as np
from hostile_models import Change, arrays, put


def _first(array: np.ndarray, value: float) -> np.ndarray:
    changed = array.copy()
    changed.flat[0] = value
    return changed


def _labels(value: float) -> Change:
    return arrays(lambda there: {**there, "labels": _first(there["labels"], value)})


OF_SHOTS: dict[str, tuple[Change, str]] = {
    "a label of no class": (_labels(4), "prompts.labels"),
    "a label below zero": (_labels(-1), "prompts.labels"),
    "a fraction of a label": (_labels(0.5), "prompts.labels"),
    "a weight below zero": (
        arrays(lambda a: {**a, "alpha": np.array(-1, np.float32)}),
        "prompts.alpha",
    ),
    "a setting and another weight": (
        put("settings.alpha", 2.5),
        "prompts.alpha: 1, but settings.alpha is 2.5; both must be equal",
    ),
    "a weight beyond": (
        arrays(lambda a: {**a, "alpha": np.array(3e38, np.float32)}),
        r"prompts.alpha: 3e\+38 must be at least 0, and at most 16,777,216",
    ),
    "keys of any length": (
        arrays(lambda a: {**a, "keys": a["keys"] * np.float32(1e18)}),
        r"prompts.keys: the norm of a key differs from 1 by 1e\+18; training changes",
    ),
    "keys of one length more": (
        arrays(lambda a: {**a, "keys": a["keys"] * np.float32(1.01)}),
        "prompts.keys: the norm of a feature differs from 1 by 0.01",
    ),
    "fewer labels": (arrays(lambda a: {**a, "labels": a["labels"][:3]}), "prompts.arrays.labels"),
    "no shot": (
        arrays(lambda a: {**a, "labels": a["labels"][:0], "keys": a["keys"][:0]}),
        "prompts.arrays.keys",
    ),
    "shots vast": (put("prompts.arrays.keys", "float32[99999999999, 16]"), "prompts.arrays"),
}

OF_PRO_MPT: dict[str, tuple[Change, str]] = {
    "a decay that overflows": (
        put("settings.loss_decay", 1e200),
        r"settings.loss_decay=1e\+200 must be a number, at most 10",
    ),
    "iterations without end": (
        put("settings.iterations", 10**6),
        "settings.iterations=1000000 must be a number, at most 100",
    ),
    "a vast depth": (put("settings.vision_depth", 257), "settings.vision_depth=257 must be"),
}

OF_VIDEOS: dict[str, tuple[Change, str]] = {
    "frames none": (put("inputs.frames", 0), "inputs.frames: 0, but kind is 'videos'"),
    "frames vast": (put("inputs.frames", 10**6), "inputs: frames: 1000000"),
    "frames others": (put("inputs.frames", 4), "settings.frames: 3, but inputs.frames is 4"),
    "rule of training": (put("inputs.frame_rule", "random"), "inputs.frame_rule: 'random'"),
    "crop other": (put("inputs.crop", "middle"), "inputs: unknown crop 'middle'"),
    "pooling other": (put("settings.pooling", "max"), "unknown settings.pooling 'max'"),
}
