"""Imports a checkpoint of CoOp's, CoCoOp's or MaPLe's reference implementation.

    python -m prompt_jax.import_checkpoint output/…/prompt_learner/model.pth.tar-50 \\
        --backbone ViT-B/16 --classes names.txt --output models/coop

The file is parsed as data, without PyTorch; no code in it is executed. The checks are
listed in docs/reference_checkpoints.md.
"""

import sys

from prompt_jax.cli import commands

if __name__ == "__main__":  # before the imports below, so that Ctrl-C works while they run
    sys.exit(commands.run("prompt_jax.import_checkpoint", "main", sys.argv[1:]))

import argparse
import pathlib
from collections.abc import Sequence

from prompt_jax.errors import PromptError, escape
from prompt_jax.exchange import reading
from prompt_jax.exchange.layouts import LAYOUTS
from prompt_jax.methods.images.coop import POSITIONS
from prompt_jax.models import saved
from prompt_jax.prompts import PHOTO
from prompt_jax.storage.files import read_bytes

_MOST_BYTES = 16 * 2**20  # of a file of class names


def read_names(path: pathlib.Path) -> tuple[str, ...]:
    """Reads class names, one per line, without empty lines. Names may repeat, as in ImageNet.

    Raises:
        PromptError: the file cannot be read or has no class names.
    """
    try:
        lines = read_bytes(path, _MOST_BYTES).decode("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        if isinstance(error, UnicodeDecodeError):
            reason = "it is not UTF-8 text"
        raise PromptError(f"{path} cannot be read: {reason}") from None
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise PromptError(f"{path} holds no class names; write one per line")
    return names


def main(argv: Sequence[str]) -> None:
    """Imports a checkpoint and prints the model's method, settings and number of classes.

    Raises:
        PromptError: see `reading.read`; or the directory already holds a model.
    """
    chosen = _parser().parse_args(argv)
    folder = chosen.output
    existing = [name for name in (saved.MODEL, saved.PROMPTS) if (folder / name).exists()]
    if existing:
        raise PromptError(
            f"{folder} already holds {' and '.join(existing)}; choose another directory"
        )
    wanted = reading.Wanted(
        backbone=chosen.backbone,
        activation=chosen.activation,
        method=chosen.method,
        class_names=read_names(chosen.classes) if chosen.classes else None,
        template=chosen.template,
        context_words=chosen.context_words,
        name_position=chosen.name_position,
    )
    model = reading.read(chosen.checkpoint, wanted)
    folder.mkdir(parents=True, exist_ok=True)
    saved.write(folder, model)
    for line in model.trained["assumed"]:
        print(f"note: {chosen.backbone}: {line}", file=sys.stderr)
    settings = ", ".join(f"{name}={value!r}" for name, value in model.settings.items())
    print(f"{model.method}: {escape(settings)}; {len(model.class_names)} classes")
    print(f"written to {escape(str(folder))}")


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m prompt_jax.import_checkpoint",
        description="Imports a checkpoint of a method's reference implementation.",
    )
    add = parser.add_argument
    add("checkpoint", type=pathlib.Path, help="model.pth.tar-N")
    add("--backbone", required=True, help="the CLIP that it was trained on, e.g. ViT-B/16")
    add("--output", required=True, type=pathlib.Path, help="directory to write the model to")
    add(
        "--classes",
        type=pathlib.Path,
        help="file of class names, one per line; default: read from the checkpoint",
    )
    add("--method", default="", choices=("", *LAYOUTS), help="default: detected")
    add("--template", default=PHOTO, help=f'template for zero-shot CLIP; default: "{PHOTO}"')
    add("--context-words", help="CTX_INIT of the training; default: detected for MaPLe")
    add("--name-position", default="end", choices=POSITIONS, help="CoOp's CLASS_TOKEN_POSITION")
    add("--activation", default="", help="of the backbone, if its file does not state it")
    return parser
