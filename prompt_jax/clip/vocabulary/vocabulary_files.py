"""Whether a checkpoint's vocabulary is CLIP's: by its rows, and by the tokenizer's files beside it.

Texts are tokenized with CLIP's vocabulary alone. Tokens that were added to it stand behind and are
never used; any other vocabulary gives each id another meaning.
"""

import functools
import itertools
from pathlib import Path
from typing import Annotated, Any

import pydantic

from prompt_jax.clip.checkpoints.checkpoint_config import LARGEST, shown
from prompt_jax.clip.config import VOCABULARY
from prompt_jax.clip.vocabulary import bpe
from prompt_jax.errors import PromptError
from prompt_jax.storage import files

NAMES = ("tokenizer.json", "vocab.json", "merges.txt")
# Vocabularies of other tokenizers, where none of CLIP's files is there.
_OTHERS = ("vocab.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model")
_ARGMAX = 2  # the eos_token_id of OpenAI's config.json, for which transformers takes the highest id
_MOST = 32 * 2**20  # bytes; a tokenizer.json of CLIP's has 4 MB

_Id = Annotated[int, pydantic.Field(strict=True, ge=0, le=LARGEST)]


class _Added(pydantic.BaseModel):
    id: _Id
    content: str


class _Model(pydantic.BaseModel):
    type: str = "BPE"
    vocab: dict[str, _Id]
    merges: list[str | tuple[str, str]]
    end_of_word_suffix: str | None = None


class _Vocabulary(pydantic.RootModel[dict[str, _Id]]):
    """A vocab.json."""


class _Tokenizer(pydantic.BaseModel):
    """What of a tokenizer.json says which text has which id."""

    added_tokens: list[_Added] = []
    model: _Model


def check_rows(rows: int) -> None:
    """Raises a PromptError of fewer embeddings of tokens than CLIP's vocabulary has."""
    if rows < VOCABULARY:
        raise PromptError(
            f"its vocabulary has {rows:,} tokens, and CLIP's {VOCABULARY:,}: it was trained with"
            " another tokenizer, and texts would mean nothing to it"
        )


def check(rows: int, folder: Path, said: str, eos: int | None = None) -> tuple[str, ...]:
    """Refuses a vocabulary that is not CLIP's, or CLIP's with tokens added behind it.

    Args:
        rows: how many embeddings of tokens there are.
        folder: in which the tokenizer's files may stand.
        said: the file that says that the first of them are CLIP's; "" if none does.
        eos: the eos_token_id of config.json, at which transformers reads a text's features; None
            of other layouts.

    Returns:
        a line where there are added tokens, else nothing.

    Raises:
        PromptError: it is another one, or nothing says that it is CLIP's.
    """
    check_rows(rows)
    if eos not in (None, _ARGMAX, VOCABULARY - 1):
        raise PromptError(
            f"config.json: text_config.eos_token_id={eos}: features of texts are read at CLIP's"
            f" end of text, {VOCABULARY - 1:,}"
        )
    file = compare(folder)
    if rows == VOCABULARY:
        return ()
    # With OpenAI's id, an added token in a text would be read in place of its end.
    file = file or (said if eos != _ARGMAX else "")
    if not file:
        raise PromptError(
            f"its vocabulary has {rows:,} tokens, {rows - VOCABULARY:,} more than CLIP's, and"
            " nothing says that the first of them are CLIP's; put its tokenizer.json, or vocab.json"
            " and merges.txt, beside the weights in a folder with config.json or"
            " open_clip_config.json"
        )
    return (
        f"vocabulary: the first {VOCABULARY:,} of its {rows:,} tokens are CLIP's, as {file} says;"
        " texts never use the others",
    )


def compare(folder: Path) -> str:
    """The tokenizer's file in a folder, which is CLIP's; "" if there is none.

    Raises:
        PromptError: it is another tokenizer's, or cannot be read.
    """
    there = [name for name in NAMES if (folder / name).is_file()]
    for name in there:
        try:
            content = _READERS[name](folder / name)
        except (OSError, ValueError) as error:
            raise PromptError(f"{name} cannot be read as a tokenizer's: {error}") from None
        if content:
            raise PromptError(f"{name} is of another tokenizer than CLIP's: {content}")
    if not there:
        others = [name for name in _OTHERS if (folder / name).is_file()]
        if others:
            raise PromptError(
                f"{others[0]} beside the weights is of another tokenizer than CLIP's, which has"
                " vocab.json and merges.txt, or tokenizer.json"
            )
    return there[0] if there else ""


def _differs_tokenizer(path: Path) -> str:
    content = files.read_json(path, _MOST)
    model = content.get("model") if isinstance(content, dict) else None
    kind = model.get("type", "BPE") if isinstance(model, dict) else None
    if kind != "BPE":
        return f"its model is {shown(kind)}, not 'BPE'"
    said = files.check(content, _Tokenizer)
    if said.model.end_of_word_suffix != bpe.WORD_END:
        return f"words end with {shown(said.model.end_of_word_suffix)}, not {bpe.WORD_END!r}"
    added = {token.content: token.id for token in said.added_tokens}
    pairs = [
        tuple(pair.split(" ")) if isinstance(pair, str) else pair for pair in said.model.merges
    ]
    return _differs_pieces(said.model.vocab | added) or _differs_merges(pairs)


def _differs_vocabulary(path: Path) -> str:
    return _differs_pieces(files.check(files.read_json(path, _MOST), _Vocabulary).root)


def _differs_merges_file(path: Path) -> str:
    lines = files.read_bytes(path, _MOST).decode("utf-8").splitlines()
    lines = lines[1:] if lines[:1] and lines[0].startswith("#version") else lines
    # As transformers has it: what follows CLIP's number of merges is passed over.
    return _differs_merges([tuple(line.split(" ")) for line in lines if line][: bpe.MERGES])


_READERS = {
    "tokenizer.json": _differs_tokenizer,
    "vocab.json": _differs_vocabulary,
    "merges.txt": _differs_merges_file,
}


@functools.cache
def _own() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """CLIP's pieces with their ids, and its merges."""
    merges = bpe.read_merges()
    return bpe.number_pieces(merges), merges


def _differs_pieces(vocabulary: dict[str, int]) -> str:
    """How the first ids are others than CLIP's; "" if they are CLIP's."""
    theirs = {number: token for token, number in vocabulary.items() if number < VOCABULARY}
    for token, number in _own()[0].items():
        if vocabulary.get(token) != number:
            return f"its token {number} is {shown(theirs.get(number))}, CLIP's {shown(token)}"
    return ""


def _differs_merges(pairs: list[Any]) -> str:
    for number, (theirs, ours) in enumerate(itertools.zip_longest(pairs, _own()[1]), 1):
        if theirs != ours:
            return f"its merge {number} is {shown(theirs)}, CLIP's {shown(ours)}"
    return ""
