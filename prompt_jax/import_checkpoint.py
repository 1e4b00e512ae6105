"""Makes a model folder of a checkpoint by CoOp's, CoCoOp's or MaPLe's reference implementation.

    python -m prompt_jax.import_checkpoint output/…/prompt_learner/model.pth.tar-50 \\
        --backbone ViT-B/16 --classes names.txt --output models/coop

The file is read as data, without PyTorch: nothing in it runs. docs/reference_checkpoints.md says
what is checked.
"""

import sys

from prompt_jax.cli import command_line

if __name__ == "__main__":  # before the imports below, so that Ctrl-C is heard while they run
    sys.exit(command_line.run("prompt_jax.import_checkpoint", "main", sys.argv[1:]))

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

_MOST_NAMES = 16 * 2**20  # bytes: a hundred thousand names


def read_names(path: pathlib.Path) -> tuple[str, ...]:
    """Class names, one a line; empty lines do not count. ImageNet's hold the same name twice.

    Raises:
        PromptError: it cannot be read, or holds none.
    """
    try:
        lines = read_bytes(path, _MOST_NAMES).decode("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        if isinstance(error, UnicodeDecodeError):
            reason = "it is no UTF-8 text"
        raise PromptError(f"{path} cannot be read: {reason}") from None
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise PromptError(f"{path} holds no class names; write one a line")
    return names


def main(argv: Sequence[str]) -> None:
    """Reads, checks, writes, and says what was found.

    Raises:
        PromptError: see `reading.read`; or the folder holds a model already.
    """
    chosen = _parser().parse_args(argv)
    folder = chosen.output
    there = [name for name in (saved.MODEL, saved.PROMPTS) if (folder / name).exists()]
    if there:
        raise PromptError(f"{folder} holds {' and '.join(there)} already; name another folder")
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
        description="Makes a model folder of a checkpoint by a reference implementation.",
    )
    add = parser.add_argument
    add("checkpoint", type=pathlib.Path, help="model.pth.tar-N")
    add("--backbone", required=True, help="the CLIP that it was trained on, e.g. ViT-B/16")
    add("--output", required=True, type=pathlib.Path, help="folder to write")
    add("--classes", type=pathlib.Path, help="its class names, one a line; else as it has them")
    add("--method", default="", choices=("", *LAYOUTS), help="else found by what it holds")
    add("--template", default=PHOTO, help=f'text of a class for zero-shot CLIP; "{PHOTO}"')
    add("--context-words", help="CTX_INIT of its training; else MaPLe's is found")
    add("--name-position", default="end", choices=POSITIONS, help="CoOp's CLASS_TOKEN_POSITION")
    add("--activation", default="", help="of the backbone, where its file does not say")
    return parser
