"""A report's page: one HTML file that holds all that it shows, and asks no network for more."""

import base64
import contextlib
import io
import pathlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from PIL import Image

from experiments.report.blocks import Section
from prompt_jax.errors import PromptError, escape, installing
from prompt_jax.storage.files import write_text

TEMPLATE = pathlib.Path(__file__).parent / "page.html"
MARK = b'<meta name="generator" content="prompt_jax">'  # of a page, near its start


def check(path: pathlib.Path) -> bool:
    """Refuses, before anything is computed, what `write` could not write, or would destroy.

    Returns:
        Whether an earlier page is there, which `write` replaces.

    Raises:
        PromptError: jinja2 is not installed, or `path` holds something else than a page of `write`.
    """
    _jinja2()
    if not path.parent.is_dir():
        raise PromptError(f"--out={path} cannot be written: there is no folder {path.parent}")
    try:
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            if MARK not in file.read(len(MARK) + 500):
                raise PromptError(
                    f"--out={path} is there and no page of this command; name another file, or "
                    "delete it"
                )
    except OSError as error:
        raise _unwritable(path, error) from error
    return path.exists()


def write(path: pathlib.Path, title: str, sections: Sequence[Section]) -> None:
    """Writes the page, whole or not at all; an earlier one there is replaced.

    Raises:
        PromptError: jinja2 is not installed, or the file cannot be written.
    """
    text = render(title, sections)
    try:
        write_text(path, text)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: pathlib.Path, error: OSError) -> PromptError:
    return PromptError(f"--out={path} cannot be written: {error.strerror}")


def render(title: str, sections: Sequence[Section]) -> str:
    """The page's text; names of classes and files stand in it as text, whatever they hold.

    Raises:
        PromptError: jinja2 is not installed.
    """
    jinja2 = _jinja2()
    from markupsafe import Markup

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.finalize = _on_one_line
    environment.filters |= {"data": data_uri, "drawing": Markup}
    environment.tests["block"] = lambda block, name: type(block).__name__ == name
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    text = template.render(title=title, sections=sections)
    text = text.replace(" %", "\N{NO-BREAK SPACE}%")  # a number and its sign stay together
    return text.encode("utf-8", "backslashreplace").decode("utf-8")  # names need not be UTF-8


def _on_one_line(value: Any) -> Any:
    """What is printed: text of a user without control characters; drawings and numbers as are."""
    return escape(value) if type(value) is str else value


def _jinja2() -> ModuleType:
    try:
        import jinja2
    except ImportError as error:
        raise PromptError(
            f"a report is jinja2's, which cannot be imported ({error}); install it: "
            f"{installing('report')}"
        ) from None
    return jinja2


def data_uri(image: Image.Image) -> str:
    """An image as JPEG inside an address."""
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
