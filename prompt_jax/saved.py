"""A trained model on disk: prompts.safetensors holds its numbers, model.json all else to use it.

Both lie in a run's folder, and are what is shared. Arrays have the names of their places in the
pytree, joined by full stops: "vision_generator.linear1.kernel". docs/using.md explains the fields.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import numpy as np
import safetensors
import safetensors.numpy

from prompt_jax.clip import CLIPConfig
from prompt_jax.errors import PromptError
from prompt_jax.files import check_seal, read_json, seal, sync_folder, write_text
from prompt_jax.inputs.given import Inputs

MODEL, PROMPTS = "model.json", "prompts.safetensors"
FORMAT = 1
KINDS = ("pictures", "clips")
TASKS = ("classes", "captions")


@dataclasses.dataclass(frozen=True)
class Saved:
    """All that a trained model is, its backbone apart.

    Attributes:
        method: a name from the tables of methods.
        kind: "pictures" or "clips", what it looks at.
        task: "classes", or of clips "captions", what it was trained to tell apart.
        settings: the fields of the method's `Settings`.
        class_names: those that the prompts were trained on; empty for captions.
        template: the data set's text of a class, "{}" for its name.
        backbone: what `clip.loading.load` was given.
        backbone_hash: see `clip.loading.fingerprint`.
        activation: what it was given beside; "" as the checkpoint says.
        dtype: compute type of the frozen towers.
        precision: of their float32 products, see `CLIP.precision`; earlier files do not say it.
        sizes: of the backbone.
        inputs: how pictures were prepared.
        trained: what is told of the training, for people: data, shots, seed, figures, commit.
        prompts: the pytree, of numpy arrays; an empty dict where nothing trains.
        class_ids: WordNet's id of each class, of ImageNet's; empty where the data has no ids.
    """

    method: str
    kind: str
    task: str
    settings: Mapping[str, Any]
    class_names: tuple[str, ...]
    template: str
    backbone: str
    backbone_hash: str
    activation: str
    dtype: str
    sizes: CLIPConfig
    inputs: Inputs
    trained: Mapping[str, Any]
    prompts: Any
    precision: str = "highest"
    class_ids: tuple[str, ...] = ()


def write(folder: pathlib.Path, saved: Saved) -> None:
    """Puts both files into a folder that is there, in place of those that are.

    Raises:
        OSError: they cannot be written.
    """
    arrays = _flat(saved.prompts)
    content = _serialize(arrays)
    model = {
        "format": FORMAT,
        **{field.name: getattr(saved, field.name) for field in dataclasses.fields(saved)},
        "sizes": dataclasses.asdict(saved.sizes),
        "inputs": dataclasses.asdict(saved.inputs),
        "prompts": {
            "file": PROMPTS,
            "sha256": hashlib.sha256(content).hexdigest(),
            "arrays": {name: f"{a.dtype}{list(a.shape)}" for name, a in arrays.items()},
        },
    }
    model = json.loads(json.dumps(model))  # as it will be read: its digest is of lists, not tuples
    # model.json says what the other must be: between the two writes the folder is refused.
    unfinished = folder / f"{PROMPTS}.unfinished"
    unfinished.write_bytes(content)
    unfinished.replace(folder / PROMPTS)
    sync_folder(folder)
    write_text(folder / MODEL, json.dumps(seal(model), indent=1, ensure_ascii=False) + "\n")


def digest(prompts: Any) -> str:
    """SHA-256 of the prompts.safetensors that holds this pytree: equal prompts have equal ones."""
    return hashlib.sha256(_serialize(_flat(prompts))).hexdigest()


def _flat(prompts):
    # Not np.ascontiguousarray, which gives a single number an axis.
    return {
        name: np.asarray(array, order="C")
        for name, array in flax.traverse_util.flatten_dict(prompts, sep=".").items()
    }


def _serialize(arrays):
    # One word beside the arrays, no more: the file's digest would depend on their order.
    return safetensors.numpy.save(arrays, {"format": "prompt_jax"})


def is_saved(folder: pathlib.Path) -> bool:
    """Whether a folder holds a model's model.json."""
    return (folder / MODEL).is_file()


def read(folder: pathlib.Path) -> Saved:
    """The model in a folder.

    Raises:
        PromptError: there is none, it is damaged, or a later version wrote it.
    """
    path = folder / MODEL
    try:
        content = dict(read_json(path))
    except FileNotFoundError:
        raise PromptError(_absence(folder)) from None
    except (OSError, ValueError, TypeError) as error:
        raise PromptError(f"{path} cannot be read ({error})") from error
    if not isinstance(content.get("format"), int):
        raise PromptError(f"{path} is of something else than a trained model; give its folder")
    if content["format"] != FORMAT:
        raise PromptError(
            f"{path} is of format {content['format']}, this version reads {FORMAT}; update "
            "prompt_jax"
        )
    try:
        check_seal(content)
        prompts = _read_prompts(folder / PROMPTS, content["prompts"]["sha256"])
        optional = {"precision", "class_ids"}  # what earlier versions did not write
        names = [field.name for field in dataclasses.fields(Saved)]
        rest = {name: content[name] for name in names if name in content or name not in optional}
        saved = Saved(
            **rest
            | {
                "class_names": tuple(content["class_names"]),
                "class_ids": tuple(content.get("class_ids", ())),
                "sizes": CLIPConfig(**content["sizes"]),
                "settings": _with_tuples(content["settings"]),
                "inputs": Inputs(**_with_tuples(content["inputs"])),
                "prompts": prompts,
            }
        )
    except (ValueError, TypeError, KeyError) as error:
        if isinstance(error, PromptError):
            raise
        raise PromptError(
            f"{path} is damaged ({type(error).__name__}: {error}); take it from where it came from "
            "again, or complete the run anew: python -m experiments.complete RUN"
        ) from error
    return saved


def _with_tuples(fields):
    """As they were before JSON, which has lists alone."""
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
    }


def _read_prompts(path, digest):
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise PromptError(
                f"{path} is not what {MODEL} was written with: one of the two was changed or "
                "damaged; take both from where they came from again"
            )
        arrays = safetensors.numpy.load(content)
    except (OSError, safetensors.SafetensorError) as error:
        raise PromptError(f"{path} cannot be read ({error})") from error
    return flax.traverse_util.unflatten_dict(arrays, sep=".")


def _absence(folder):
    if not folder.is_dir():
        return f"{folder} is no folder; give a run's folder"
    if (folder / "results.json").is_file():
        return (
            f"{folder} was left by an earlier version, without {MODEL}; complete it: "
            f"python -m experiments.complete {folder}"
        )
    if (folder / "run.json").is_file():
        return f"{folder} holds a run that is not finished; start it again to go on"
    return f"{folder} holds no {MODEL}; give the folder of a finished run"
