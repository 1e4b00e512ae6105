"""The model card of a trained model: README.md on the Hugging Face hub."""

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
# Of Markdown as the hub shows it: also links that are written out, formulas, mentions, emoji.
_MARKUP = re.compile(r"[\\`*_{}\[\]<>#|~$&!@^]|:(?=//|\w+:)|(?<=www)\.", re.IGNORECASE)
_ENDS_CODE = str.maketrans("`|", "'/")

# Fields of `Saved.trained` that get a row, with its heading.
_ROWS = {
    "dataset": "data",
    "domain": "domain",
    "protocol": "protocol",
    "ablation": "ablation",
    "variant": "variant",
    "shots": "shots per class",
    "pictures": "images or videos trained on",
    "seed": "seed",
    "epochs": "epochs",
    "batch_size": "batch size",
    "learning_rate": "learning rate",
    "trainable_parameters": "numbers trained",
    "chosen": "settings it chose",
    "features": "features",
    "date": "finished",
    "git_commit": "commit of prompt_jax",
}
_KEYS = {"base": "base classes", "new": "new classes", "h": "H, their harmonic mean"}
_STAND_IN = (
    "the embedded CLIP is a small stand-in: figures on it say how methods learn, and are not "
    "comparable with published ones"
)


def write(model: Saved, name: str, license: str) -> str:
    """README.md: a header for the hub, then text for people.

    Args:
        model: as it is shared; of `trained` any field may be missing.
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
        f"{title}, trained by prompt_jax. What was trained is in here; CLIP itself is not, and is "
        "found by its name.",
        "\n".join(_facts(model)),
        "## Figures",
        "\n\n".join([*_figures(model), *_notes(model)]),
        "## What it can do",
        _abilities(model),
        "## Use",
        _use(model, name),
    ]
    return printable("\n\n".join(parts) + "\n")


def hub_id(backbone: str) -> str:
    """The backbone's name on the hub; "" of the embedded one."""
    return "" if backbone == "embedded" else HUB_IDS.get(backbone, backbone)


def _facts(model: Saved) -> Iterator[str]:
    record = methods.find_record(model.method, model.kind)
    paper = record.paper if record else ""
    where = hub_id(model.backbone)
    frames = f", {model.inputs.frames} frames each" if model.inputs.frames else ""
    size = model.inputs.image_size
    yield "| | |\n|---|---|"
    yield _row("method", f"{_code(model.method)}{paper and ': '}{paper}")
    yield _row("CLIP", f"[{where}](https://huggingface.co/{where})" if where else "`embedded`")
    yield _row("looks at", f"{model.kind} of {size} × {size} pixels{frames}")
    turned = "turned as their files say" if model.inputs.upright else "as they are stored"
    yield _row("prepares them", f"{model.inputs.preprocessing.describe(size)}; {turned}")
    for field, heading in _ROWS.items():
        value = model.trained.get(field)
        if value not in (None, "", {}, []):
            yield _row(heading, _in_words(value))


def _figures(model: Saved) -> Iterator[str]:
    told = model.trained
    found, beside = (_numbers(told.get(field)) for field in ("accuracy", "zero_shot"))
    if isinstance(told.get("h"), int | float):
        found["h"] = told["h"]
    if not found:
        yield "None are told."
        return
    what = "R@1 of captions that search videos" if model.task == "captions" else "Accuracy"
    yield f"{what}, in percent, beside zero-shot CLIP with the same backbone:"
    rows = [
        _row(
            _KEYS.get(key, _in_words(key)),
            f"{value:.1f}",
            f"{beside[key]:.1f}" if key in beside else "",
        )
        for key, value in found.items()
    ]
    yield "\n".join([_row("tested on", "this model", "zero-shot CLIP"), "|---|---|---|", *rows])
    seed = f", {_in_words(told['seed'])}" if "seed" in told else ""
    yield f"These are figures of one seed{seed}: another one gives others."
    if "h" in found:
        yield "It was trained on the base classes alone; the new ones it first met in the test."


def _notes(model: Saved) -> Iterator[str]:
    note = model.trained.get("note") or (_STAND_IN if model.backbone == "embedded" else "")
    if note:
        yield f"**Note**: {_in_words(note)}."


def _abilities(model: Saved) -> str:
    many = len(model.class_names)
    sees = model.kind
    if not many:
        said = (
            f"It tells apart {sees} by any texts: `encode_texts` and `encode_images` give features "
            "to compare, `predict` takes classes."
        )
    else:
        names = ", ".join(_in_words(name) for name in model.class_names[:SHOWN_CLASSES])
        more = f", and {many - SHOWN_CLASSES} more in model.json" if many > SHOWN_CLASSES else ""
        others = (
            "These alone: it keeps something of its own for each."
            if _is_bound(model)
            else "It takes others too, as `classes=[…]`, though it was not trained on them."
        )
        said = f"It was trained to tell apart {many} classes of {sees}: {names}{more}. {others}"
    return f"{said} It always answers with one of its classes, whatever it is shown."


def _is_bound(model):
    method = methods.of_images(model.method)  # encoders take any text
    if method is None:
        return False
    try:
        return method.own_classes_only(method.Settings(**model.settings))
    except TypeError:  # settings of another version
        return False


def _use(model: Saved, name: str) -> str:
    path = "clip.mp4" if model.kind == "videos" else "image.jpg"
    classes = "" if model.class_names else ', classes=["…", "…"]'
    flag = "" if model.class_names else " --classes …,…"
    return f"""\
In the folder of prompt_jax's repository: `pip install .`; then

```python
import prompt_jax as pj

model = pj.load("hf:{name}")
found = model.predict(["{path}"]{classes})
print(found[0].classes[0], found[0].probabilities[0])
print(found)
```

or `python -m prompt_jax.predict hf:{name} {path}{flag}`. For PyTorch:

```bash
hf download {name} --local-dir model
python -m prompt_jax.export model --output torch_model
```"""


def _numbers(value: Any) -> dict[str, float]:
    items = value.items() if isinstance(value, Mapping) else ()
    return {key: number for key, number in items if isinstance(number, int | float)}


def _in_words(value: Any) -> str:
    """A value on one line, with nothing that Markdown would take for its own."""
    text = escape(" ".join(_plain(value).split()))
    if len(text) > MOST_SHOWN:
        text = f"{text[:MOST_SHOWN]}…"
    return _MARKUP.sub(r"\\\g<0>", text)


def _code(text: str) -> str:
    """A name as code, without what would end it or the cell of a table."""
    return f"`{escape(text).translate(_ENDS_CODE)}`"


def _plain(value):
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_plain(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return str(value)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
