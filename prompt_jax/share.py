"""Uploads a trained model to the Hugging Face hub, with a model card.

    python -m prompt_jax.share RUN user/name [--private]

RUN is the folder of a finished run, or another one with model.json. Uploaded are model.json,
prompts.safetensors and README.md; the backbone is not, so its name must be one that others find:
--backbone-id says it where the run had a path. `hf auth login` or HF_TOKEN gives the token.
"""

import sys

from prompt_jax.cli import command_line

if __name__ == "__main__":  # before the imports below, so that Ctrl-C is heard while they run
    sys.exit(command_line.run("prompt_jax.share", "start", sys.argv[1:]))

import argparse
import pathlib
from collections.abc import Sequence

from prompt_jax.errors import PromptError, escape
from prompt_jax.models import sharing
from prompt_jax.storage.files import filling, is_free


def start(argv: Sequence[str]) -> None:
    """Parses, uploads, says where it is."""
    parser = argparse.ArgumentParser("python -m prompt_jax.share", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("run", metavar="RUN", type=pathlib.Path, help="the trained model's folder")
    parser.add_argument("name", metavar="user/name", help="of the repository, made if absent")
    parser.add_argument("--private", action="store_true", help="a new one is for its owners alone")
    parser.add_argument("--replace", action="store_true", help="of what is there under that name")
    parser.add_argument("--backbone-id", default="", help="ViT-B/16, …, or org/name on the hub")
    parser.add_argument("--license", default=sharing.LICENSE, help=f"({sharing.LICENSE})")
    parser.add_argument("--dry-run", metavar="DIR", type=pathlib.Path, help="write it there only")
    options = parser.parse_args(argv)
    named = {"backbone_id": options.backbone_id, "license": options.license}
    if options.dry_run:
        _tell_left_out(write(options.run, options.dry_run, options.name, **named))
        print(f"{escape(str(options.dry_run))}: {', '.join(sharing.FILES)}; nothing is uploaded")
        return
    found = sharing.share(
        options.run, options.name, private=options.private, replace=options.replace, **named
    )
    _tell_left_out(found.left_out)
    print(found.page if found.changed else f"{found.page} holds this model already")
    print(f'in Python: prompt_jax.load("hf:{options.name}")')
    print(f"or: python -m prompt_jax.predict hf:{options.name} PATH")


def write(run: pathlib.Path, into: pathlib.Path, name: str, **named: str) -> tuple[str, ...]:
    """What would be uploaded, in a new or empty folder; returns what is left out.

    Raises:
        PromptError: the folder holds something, or see `sharing.prepare`.
    """
    if not is_free(into):
        raise PromptError(f"--dry-run {into} is there already; name a new or empty folder")
    with filling(into) as aside:
        return sharing.prepare(run, aside, name, **named)


def _tell_left_out(fields: Sequence[str]) -> None:
    if fields:
        print(f"left out, as they say paths of this machine: {', '.join(map(escape, fields))}")
