"""The HTML page of a report: one file, with no requests to a network."""

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
MARK = b'<meta name="generator" content="prompt_jax">'  # near the start of a report


def check(path: pathlib.Path) -> bool:
    """Checks before anything is computed that `write` can write, and replaces only a report.

    Returns:
        whether an earlier report is there, which `write` replaces.

    Raises:
        PromptError: jinja2 is not installed, or `path` is a file that `write` did not write.
    """
    _jinja2()
    if not path.parent.is_dir():
        raise PromptError(f"--out={path} cannot be written: there is no directory {path.parent}")
    try:
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            if MARK not in file.read(len(MARK) + 500):
                raise PromptError(
                    f"--out={path} exists and is not a report; name another file, or delete it"
                )
    except OSError as error:
        raise _unwritable(path, error) from error
    return path.exists()


def write(path: pathlib.Path, title: str, sections: Sequence[Section]) -> None:
    """Writes the page atomically; an earlier report is replaced.

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
    """Renders the page; names of classes and files are escaped.

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
    text = text.replace(" %", "\N{NO-BREAK SPACE}%")  # no line break between number and sign
    return text.encode("utf-8", "backslashreplace").decode("utf-8")  # names need not be UTF-8


def _on_one_line(value: Any) -> Any:
    """Escapes control characters in text; leaves SVG and numbers as they are."""
    return escape(value) if type(value) is str else value


def _jinja2() -> ModuleType:
    try:
        import jinja2
    except ImportError as error:
        raise PromptError(
            f"a report needs jinja2, which cannot be imported ({error}); install it: "
            f"{installing('report')}"
        ) from None
    return jinja2


def data_uri(image: Image.Image) -> str:
    """Returns an image as a data URI of a JPEG."""
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
