"""Exports a trained model to PyTorch, and optionally to ONNX or StableHLO.

    python -m prompt_jax.export RUN --output DIR

RUN is a run directory, or another directory with model.json and prompts.safetensors. Written to DIR
are prompts.safetensors, config.json and model.py, a PyTorch file that needs torch, safetensors,
numpy, Pillow, and CLIP's weights from OpenAI or Hugging Face. See docs/export.md.
"""

import sys

from prompt_jax.cli import commands

if __name__ == "__main__":  # before the imports below, so that Ctrl-C works while they run
    sys.exit(commands.run("prompt_jax.export.__main__", "start", sys.argv[1:]))

import importlib
import pathlib
from collections.abc import Sequence

from prompt_jax.errors import escape, quote
from prompt_jax.export import own_torch, replacing, writing


def start(argv: Sequence[str]) -> None:
    """Runs the command with these arguments."""
    parser = commands.make_parser("prompt_jax.export", __doc__)
    parser.add_argument("run", metavar="RUN", type=pathlib.Path, help="run directory of the model")
    output = "new or empty directory, or that of an earlier export"
    parser.add_argument("--output", metavar="DIR", type=pathlib.Path, required=True, help=output)
    parser.add_argument("--backbone", help="path or name of its CLIP, if it was moved")
    parser.add_argument(
        "--with-backbone", action="store_true", help="also write DIR/clip, for transformers"
    )
    for name in writing.FORMATS:
        parser.add_argument(f"--{name}", action="store_true", help=f"also write DIR/model.{name}")
    of_method = "PyTorch class of your own method, my_package.my_torch:CLASS; see docs/export.md"
    parser.add_argument("--torch-class", metavar="MODULE:CLASS", default="", help=of_method)
    options = parser.parse_args(argv)
    wanted = [name for name in writing.FORMATS if getattr(options, name)]
    formats = [importlib.import_module(f"prompt_jax.export.to_{name}") for name in wanted]
    for module in formats:
        module.check_packages()
    if options.torch_class:
        own_torch.check_packages()
    own, needs_code = options.torch_class, wanted != ["stablehlo"]
    model, frozen = writing.read(options.run, options.backbone, own, needs_code)
    for name in wanted:
        writing.check_classes(model, f"--{name}")
    replaced = writing.check_place(options.output)
    with replacing.replacing(options.output, writing.check_place) as aside:
        writing.write(aside, model, frozen, options.with_backbone, own)
        if own:
            own_torch.compare(aside, model, frozen, own)
        for module in formats:
            module.write(aside, model, frozen, own)
    report(options.output, model, replaced)


def report(folder, model, replaced):
    """Prints the files written and commands that use them, quoted for a shell."""
    names = ", ".join(sorted(path.name for path in folder.iterdir()))
    print(f"{'replaced' if replaced else 'wrote'} {escape(str(folder))}: {names}")
    if not (folder / writing.CODE).exists():
        print("no PyTorch code: model.stablehlo needs only JAX (docs/export.md)")
        return
    has_clip = (folder / writing.CLIP_FOLDER).is_dir()
    clip = quote(folder / writing.CLIP_FOLDER) if has_clip else "CLIP"
    where = "" if has_clip else f", with CLIP the weights of {escape(model.backbone)}"
    loaded = f"in PyTorch: model = load({escape(repr(str(folder)))}, clip)"
    if not model.class_names:
        print(f"{loaded}; model.similarities(videos, texts, tokenizer){where}")
        return
    path = "FRAMES" if model.kind == "videos" else "image.jpg"
    print(f"try it: python {quote(folder / writing.CODE)} --clip {clip} {path}")
    print(f"{loaded}; model.predict({model.kind}){where}")
    number = len(model.class_names)
    known = f"{number} class{'es' * (number > 1)}"
    if writing.takes_new_classes(model):
        print(f"trained on {known}; for others: model.set_classes(names, tokenizer)")
    else:
        print(f"has the text features of {known}, and takes no others")
