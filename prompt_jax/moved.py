"""Import paths of earlier versions: they still work, with one warning each."""

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType

MOVED = {
    "prompt_jax.captions": "prompt_jax.clip.vocabulary.captions",
    "prompt_jax.class_names": "prompt_jax.text.class_names",
    "prompt_jax.clip.captions": "prompt_jax.clip.vocabulary.captions",
    "prompt_jax.clip.layouts": "prompt_jax.clip.checkpoints.layouts",
    "prompt_jax.clip.state_dicts": "prompt_jax.clip.checkpoints.state_dicts",
    "prompt_jax.evaluate": "prompt_jax.evaluation.evaluate",
    "prompt_jax.fitting": "prompt_jax.models.fitting",
    "prompt_jax.inputs.clips.sampling": "prompt_jax.inputs.videos.sampling",
    "prompt_jax.inputs.given": "prompt_jax.inputs.preparation",
    "prompt_jax.inputs.pictures.transforms": "prompt_jax.inputs.images.transforms",
    "prompt_jax.loading": "prompt_jax.models.loading",
    "prompt_jax.methods.frames": "prompt_jax.methods.inputs",
    "prompt_jax.metrics": "prompt_jax.evaluation.metrics",
    "prompt_jax.model": "prompt_jax.models.model",
    "prompt_jax.optim": "prompt_jax.training.optim",
    "prompt_jax.packing": "prompt_jax.clip.packing",
    "prompt_jax.recipes": "prompt_jax.training.recipes",
    "prompt_jax.retrieval": "prompt_jax.evaluation.retrieval",
    "prompt_jax.saved": "prompt_jax.models.saved",
    "prompt_jax.templates": "prompt_jax.text.templates",
    "prompt_jax.train": "prompt_jax.training.train",
    **{
        f"prompt_jax.methods.{name}": f"prompt_jax.methods.images.{name}"
        for name in (
            *("clip_adapter", "cocoop", "coop", "gda", "ivlp", "kgcoop", "maple", "pro_mpt"),
            *("promptsrc", "tip_adapter", "vpt", "zero_shot"),
        )
    },
    **{
        f"prompt_jax.methods.{name}": f"prompt_jax.methods.video.{name}"
        for name in (
            *("a5", "adapters", "clip_video", "tuned", "vifi_clip", "vifi_vl_prompting"),
            *("vilt_clip", "vilt_independent", "vilt_multimodal", "vop", "vop_c", "vop_f", "vop_p"),
        )
    },
}
_FOLDERS = {name.rpartition(".")[0] for name in MOVED} - {
    "prompt_jax",
    "prompt_jax.clip",
    "prompt_jax.inputs",
    "prompt_jax.methods",
}


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds moved modules; Python asks it only for names that no file has."""

    def __init__(self) -> None:
        self._specs: dict[str, importlib.machinery.ModuleSpec | None] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name in MOVED or name in _FOLDERS:
            return importlib.machinery.ModuleSpec(name, self, is_package=name in _FOLDERS)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        if spec.name not in MOVED:
            return None
        new = MOVED[spec.name]
        warnings.warn(f"{spec.name} is now {new}; import that", FutureWarning, stacklevel=6)
        module = importlib.import_module(new)
        self._specs[spec.name] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Gives a moved module its own spec back, which importing replaced; executes nothing."""
        spec = module.__spec__
        if spec is not None and spec.name in self._specs:
            module.__spec__ = self._specs[spec.name]


def install() -> None:
    """Makes Python find the modules of `MOVED` by their earlier names."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.append(Finder())
