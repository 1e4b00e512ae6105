"""Writes the model card of a trained model: README.md on the Hugging Face hub."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import huggingface_hub

from prompt_jax import methods
from prompt_jax.clip.checkpoints.hub import HUB_IDS
from prompt_jax.errors import escape, printable
from prompt_jax.models.saved import Saved

SHOWN_CLASSES = 30
MOST_SHOWN = 300  # characters of a value
# Markdown of the hub, with bare URLs, formulas, mentions and emoji.
_MARKUP = re.compile(r"[\\`*_{}\[\]<>#|~$&!@^]|:(?=//|\w+:)|(?<=www)\.", re.IGNORECASE)
_ENDS_CODE = str.maketrans("`|", "'/")

# Fields of `Saved.trained` and the headings of their rows.
_ROWS = {
    "dataset": "data",
    "domain": "domain",
    "protocol": "protocol",
    "ablation": "ablation",
    "variant": "variant",
    "shots": "shots per class",
    "pictures": "training images or videos",
    "seed": "seed",
    "epochs": "epochs",
    "batch_size": "batch size",
    "learning_rate": "learning rate",
    "trainable_parameters": "trainable parameters",
    "chosen": "selected settings",
    "features": "features",
    "date": "finished",
    "git_commit": "commit of prompt_jax",
}
_KEYS = {"base": "base classes", "new": "new classes", "h": "H, the harmonic mean of both"}
_EMBEDDED = (
    "the embedded CLIP is a small model for tests and examples; its results are not comparable "
    "with published ones"
)


def write(model: Saved, name: str, license: str) -> str:
    """Returns the text of README.md: a header for the hub, then the description.

    Args:
        model: the model that is shared; any field of `trained` may be missing.
        name: "user/name".
        license: an identifier of the hub.
    """
    kind = "video-classification" if model.kind == "videos" else "zero-shot-image-classification"
    header = huggingface_hub.ModelCardData(
        base_model=hub_id(model.backbone) or None,
        library_name="prompt_jax",
        license=license,
        pipeline_tag=kind,
        tags=["prompt_jax", "clip", "prompt-tuning", model.method],
    )
    record = methods.find_record(model.method, model.kind)
    title = record.title if record else _in_words(model.method)
    parts = [
        f"---\n{header.to_yaml().strip()}\n---",
        f"# {name}",
        f"{title}, trained with prompt_jax. This repository holds the trained prompts; the CLIP "
        "backbone is not included, and is loaded by its name.",
        "\n".join(_facts(model)),
        "## Results",
        "\n\n".join([*_results(model), *_notes(model)]),
        "## Classes",
        _classes(model),
        "## Use",
        _use(model, name),
    ]
    return printable("\n\n".join(parts) + "\n")


def hub_id(backbone: str) -> str:
    """Returns the name of a backbone on the hub; "" for the embedded one."""
    return "" if backbone == "embedded" else HUB_IDS.get(backbone, backbone)


def _facts(model: Saved) -> Iterator[str]:
    record = methods.find_record(model.method, model.kind)
    paper = record.paper if record else ""
    backbone = hub_id(model.backbone)
    frames = f", {model.inputs.frames} frames each" if model.inputs.frames else ""
    size = model.inputs.image_size
    yield "| | |\n|---|---|"
    yield _row("method", f"{_code(model.method)}{paper and ': '}{paper}")
    link = f"[{backbone}](https://huggingface.co/{backbone})" if backbone else "`embedded`"
    yield _row("backbone", link)
    yield _row("input", f"{model.kind} of {size} × {size} pixels{frames}")
    rotation = "applied" if model.inputs.upright else "ignored"
    described = model.inputs.preprocessing.describe(size)
    yield _row("preprocessing", f"{described}; orientation stored in files is {rotation}")
    for field, heading in _ROWS.items():
        value = model.trained.get(field)
        if value not in (None, "", {}, []):
            yield _row(heading, _in_words(value))


def _results(model: Saved) -> Iterator[str]:
    trained = model.trained
    found, zero_shot = (_numbers(trained.get(field)) for field in ("accuracy", "zero_shot"))
    if isinstance(trained.get("h"), int | float):
        found["h"] = trained["h"]
    if not found:
        yield "None are recorded."
        return
    metric = "Text-to-video R@1" if model.task == "captions" else "Accuracy"
    yield f"{metric} in percent, with zero-shot CLIP on the same backbone for comparison:"
    rows = [
        _row(
            _KEYS.get(key, _in_words(key)),
            f"{value:.1f}",
            f"{zero_shot[key]:.1f}" if key in zero_shot else "",
        )
        for key, value in found.items()
    ]
    yield "\n".join([_row("tested on", "this model", "zero-shot CLIP"), "|---|---|---|", *rows])
    seed = f" ({_in_words(trained['seed'])})" if "seed" in trained else ""
    yield f"These results are from a single seed{seed}; other seeds give other results."
    if "h" in found:
        yield "The model was trained on the base classes only, and tested on base and new classes."


def _notes(model: Saved) -> Iterator[str]:
    note = model.trained.get("note") or (_EMBEDDED if model.backbone == "embedded" else "")
    if note:
        yield f"**Note**: {_in_words(note)}."
    if model.texts:
        yield (
            "The method reads texts of the classes. They are in texts.json, and the license above "
            "is not about them."
        )


def _classes(model: Saved) -> str:
    number, kind = len(model.class_names), model.kind
    if not number:
        described = (
            f"The model compares {kind} with any texts: `encode_texts` and `encode_images` return "
            "features, and `predict` takes classes."
        )
    else:
        names = ", ".join(_in_words(name) for name in model.class_names[:SHOWN_CLASSES])
        hidden = number - SHOWN_CLASSES
        more = f", and {hidden} more in model.json" if hidden > 0 else ""
        others = (
            "Other classes are not supported: the prompts are class-specific."
            if _is_class_specific(model)
            else "Other classes can be passed as `classes=[…]`, though it was not trained on them."
        )
        described = f"The model was trained on {number} classes of {kind}: {names}{more}. {others}"
    return f"{described} It always predicts one of its classes, whatever the input shows."


def _is_class_specific(model):
    method = methods.of_images(model.method)  # methods with a text encoder take any text
    if method is None:
        return False
    try:
        return method.own_classes_only(method.Settings(**model.settings))
    except TypeError:  # settings of another version
        return False


def _use(model: Saved, name: str) -> str:
    path = "video.mp4" if model.kind == "videos" else "image.jpg"
    classes = "" if model.class_names else ', classes=["…", "…"]'
    flag = "" if model.class_names else " --classes …,…"
    return f"""\
In a checkout of prompt_jax, run `pip install .`; then

```python
import prompt_jax as pj

model = pj.load("hf:{name}")
found = model.predict(["{path}"]{classes})
print(found[0].classes[0], found[0].probabilities[0])
print(found)
```

or run `python -m prompt_jax.predict hf:{name} {path}{flag}`. For PyTorch:

```bash
hf download {name} --local-dir model
python -m prompt_jax.export model --output torch_model
```"""


def _numbers(value: Any) -> dict[str, float]:
    items = value.items() if isinstance(value, Mapping) else ()
    return {key: number for key, number in items if isinstance(number, int | float)}


def _in_words(value: Any) -> str:
    """Returns a value as one line with Markdown escaped."""
    text = escape(" ".join(_plain(value).split()))
    if len(text) > MOST_SHOWN:
        text = f"{text[:MOST_SHOWN]}…"
    return _MARKUP.sub(r"\\\g<0>", text)


def _code(text: str) -> str:
    """Returns a name as inline code, safe in a table cell."""
    return f"`{escape(text).translate(_ENDS_CODE)}`"


def _plain(value):
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_plain(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return str(value)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
