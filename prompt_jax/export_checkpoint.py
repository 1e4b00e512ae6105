"""Exports a trained model to the format of CoOp's, CoCoOp's or MaPLe's reference implementation.

    python -m prompt_jax.export_checkpoint RUN --output DIR/prompt_learner/model.pth.tar-50

RUN is a directory with model.json. PyTorch is required: pip install -e '.[torch]'.
"""

import sys

from prompt_jax.cli import commands

if __name__ == "__main__":  # before the imports below, so that Ctrl-C works while they run
    sys.exit(commands.run("prompt_jax.export_checkpoint", "main", sys.argv[1:]))

import argparse
import pathlib
from collections.abc import Sequence

from prompt_jax.errors import escape, quote
from prompt_jax.exchange import writing
from prompt_jax.exchange.layouts import LAYOUTS
from prompt_jax.models import saved


def main(argv: Sequence[str]) -> None:
    """Exports a model and prints the command with which Dassl evaluates it.

    Raises:
        PromptError: see `saved.read` and `writing`.
    """
    chosen = _parser().parse_args(argv)
    epoch = writing.find_epoch(chosen.output)
    model = saved.read(chosen.run)
    state = writing.to_state(model, writing.load_backbone(model, chosen.backbone))
    writing.write(chosen.output, state)
    layout = LAYOUTS[model.method]
    folder = chosen.output.absolute().parent
    print(f"written to {escape(str(chosen.output))}")
    if folder.name == layout.folder:
        where = str(folder.parent)
    else:
        where = "DIR"
        print(f"move it to DIR/{layout.folder}/, where Dassl looks for it")
    number = "" if epoch is None else f" --load-epoch {epoch}"
    print(
        f"python train.py --trainer {layout.trainer} … --eval-only --model-dir {quote(where)}"
        f"{number} {writing.options(model)}"
    )


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m prompt_jax.export_checkpoint",
        description="Exports a trained model to its method's reference implementation.",
    )
    parser.add_argument("run", type=pathlib.Path, help="directory with model.json")
    parser.add_argument("--output", required=True, type=pathlib.Path, help="model.pth.tar-N")
    parser.add_argument("--backbone", default="", help="the CLIP, if it has moved since training")
    return parser
