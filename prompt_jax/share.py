"""Uploads a trained model to the Hugging Face hub, with a model card.

    python -m prompt_jax.share RUN user/name [--private]

RUN is the directory of a finished run, or another one with model.json. Uploads model.json,
prompts.safetensors and README.md, but not the backbone, which therefore needs a public name; set it
by --backbone-id if the run used a local path. Log in by `hf auth login`, or set HF_TOKEN.
"""

import sys

from prompt_jax.cli import commands

if __name__ == "__main__":  # before the imports below, so that Ctrl-C works while they run
    sys.exit(commands.run("prompt_jax.share", "start", sys.argv[1:]))

import pathlib
from collections.abc import Sequence

from prompt_jax.errors import PromptError, escape
from prompt_jax.models import sharing
from prompt_jax.storage.files import filling, is_free


def start(argv: Sequence[str]) -> None:
    """Runs the command with these arguments."""
    parser = commands.make_parser("prompt_jax.share", __doc__)
    parser.add_argument("run", metavar="RUN", type=pathlib.Path, help="run directory of the model")
    parser.add_argument("name", metavar="user/name", help="repository, created if missing")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--replace", action="store_true", help="replace the model that is there")
    backbone = "public name of the CLIP: ViT-B/16, …, or org/name on the hub"
    parser.add_argument("--backbone-id", default="", help=backbone)
    license = f"license of the prompts ({sharing.LICENSE})"
    parser.add_argument("--license", default=sharing.LICENSE, help=license)
    dry = "write the files to DIR, upload nothing"
    parser.add_argument("--dry-run", metavar="DIR", type=pathlib.Path, help=dry)
    options = parser.parse_args(argv)
    named = {"backbone_id": options.backbone_id, "license": options.license}
    if options.dry_run:
        _tell_left_out(write(options.run, options.dry_run, options.name, **named))
        files = sharing.files_of(options.dry_run)
        print(f"{escape(str(options.dry_run))}: {', '.join(files)}; nothing is uploaded")
        return
    found = sharing.share(
        options.run, options.name, private=options.private, replace=options.replace, **named
    )
    _tell_left_out(found.left_out)
    print(found.page if found.changed else f"{found.page} holds this model already")
    print(f'in Python: prompt_jax.load("hf:{options.name}")')
    print(f"or: python -m prompt_jax.predict hf:{options.name} PATH")


def write(run: pathlib.Path, into: pathlib.Path, name: str, **named: str) -> tuple[str, ...]:
    """Writes the files to share into a new or empty directory; returns the removed fields.

    Raises:
        PromptError: the directory is not empty, or `sharing.prepare` fails.
    """
    if not is_free(into):
        raise PromptError(f"--dry-run {into} already exists; name a new or empty directory")
    with filling(into) as aside:
        return sharing.prepare(run, aside, name, **named)


def _tell_left_out(fields: Sequence[str]) -> None:
    if fields:
        print(f"removed, as they hold local paths: {', '.join(map(escape, fields))}")
