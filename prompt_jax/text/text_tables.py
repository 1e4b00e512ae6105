"""Reads tables of texts that are published as Python code, without running it, or as CSV."""

import ast
import csv
import io
import json
import pathlib
from typing import Any

from prompt_jax.errors import PromptError, escape
from prompt_jax.storage.files import read_bytes

MOST_BYTES = 4 * 2**20
CLASS_COLUMNS = ("class", "class name", "class_name", "name")  # the first of them counts


def read(path: pathlib.Path) -> dict[str, Any]:
    """Returns the variables of a Python file whose values are literals, by name.

    A function of one name that returns a formatted text, `lambda c: f"a photo of a {c}"`, becomes
    its template, "a photo of a {}". All other statements are ignored; nothing is executed.

    Raises:
        PromptError: it cannot be read, or is not Python code.
    """
    try:
        tree = ast.parse(read_bytes(path, MOST_BYTES).decode("utf-8-sig"))
        found = {}
        for statement in tree.body:
            if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
                target = statement.targets[0]
                if isinstance(target, ast.Name) and (value := _value(statement.value)) is not None:
                    found[target.id] = value
    # The parser raises the last two for code that is nested too deeply.
    except (OSError, SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise explain(path, error, "Python code") from None
    return found


def read_csv(path: pathlib.Path) -> dict[str, list[str]]:
    """Returns the texts of each class of a CSV file with a header, in UTF-8.

    The class is in the column named as one of `CLASS_COLUMNS`, a text of it in the last column; a
    class may have several rows.

    Raises:
        PromptError: it cannot be read, or has no such columns.
    """
    try:
        text = read_bytes(path, MOST_BYTES).decode("utf-8-sig")
        header, *rows = list(csv.reader(io.StringIO(text), strict=True)) or [[]]
    except (OSError, ValueError, csv.Error) as error:
        raise explain(path, error, "CSV") from None
    named = [name.strip().lower() for name in header]
    where = escape(str(path))
    column = next((named.index(name) for name in CLASS_COLUMNS if name in named[:-1]), -1)
    if column < 0:
        raise PromptError(
            f"{where}: its header {escape(','.join(header))[:80]!r} must have a column named "
            f"{' or '.join(map(repr, CLASS_COLUMNS))}, and end with the column of the texts"
        )
    found: dict[str, list[str]] = {}
    for line, row in enumerate(filter(None, rows), 2):
        if len(row) != len(header):
            raise PromptError(
                f"{where}: row {line} has {len(row)} values, the header {len(header)}"
            )
        found.setdefault(row[column].strip(), []).append(row[-1].strip())
    return found


def explain(path: pathlib.Path, error: Exception, form: str) -> PromptError:
    """Returns the error for a file that cannot be read, or is not of its form, such as "JSON"."""
    where = escape(str(path))
    if isinstance(error, UnicodeDecodeError):
        return PromptError(f"{where} is not UTF-8 text; save it as UTF-8")
    if isinstance(error, json.JSONDecodeError) and not error.doc.strip():
        return PromptError(f"{where} is empty; docs/texts.md describes the files")
    reason = getattr(error, "strerror", None) or getattr(error, "msg", None) or error
    shown = escape(str(reason))[:200] or "nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        place = f"{shown}: line {error.lineno}, column {error.colno}"
        return PromptError(
            f"{where} is not JSON ({place}); files are .json, .csv or .py, see docs/texts.md"
        )
    if isinstance(error, SyntaxError | csv.Error | MemoryError | RecursionError):
        return PromptError(f"{where} is not {form} ({shown}); see docs/texts.md")
    return PromptError(f"texts {where} cannot be read: {shown}")


def _value(node: ast.expr) -> Any:
    """Returns the value of a literal or of a list of templates, None for other expressions."""
    if isinstance(node, ast.List | ast.Tuple):
        templates = [_template(one) for one in node.elts]
        if templates and all(one is not None for one in templates):
            return templates
    if (template := _template(node)) is not None:
        return template
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _template(node: ast.expr) -> str | None:
    """Returns the template of a function of one name, None for other expressions."""
    if not isinstance(node, ast.Lambda) or len(node.args.args) != 1:
        return None
    if not isinstance(node.body, ast.JoinedStr):
        return None
    name, parts = node.args.args[0].arg, []
    for part in node.body.values:
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            parts.append(part.value)
        elif (
            isinstance(part, ast.FormattedValue)
            and isinstance(part.value, ast.Name)
            and part.value.id == name
            and part.conversion == -1
            and part.format_spec is None
        ):
            parts.append("{}")
        else:
            return None
    return "".join(parts)
