"""Leaves out and renames classes of a user's own data."""

from collections.abc import Sequence
from pathlib import Path

from data_pipelines.errors import DataError, shorten, unknown
from data_pipelines.layouts.csv_rows import read_rows
from data_pipelines.layouts.layout import expand
from prompt_jax.text.class_names import spaced

COLUMNS = ("directory", "name")


def check_left_out(what: str, leave_out: str, known: Sequence[str]) -> list[str]:
    """Returns the classes to leave out.

    Args:
        what: the data set's name, for messages.
        leave_out: "a,b", with underscores or spaces.
        known: the classes that there are, as in the data.

    Raises:
        DataError: one of them does not exist, or none would be left.
    """
    spelled = {spaced(one): one for one in known} | {one: one for one in known}
    found = []
    for asked in filter(None, map(str.strip, leave_out.split(","))):
        if asked not in spelled:
            raise unknown(f"class of {what} in leave_out:", asked, known)
        found.append(spelled[asked])
    if known and set(known) == set(found):
        raise DataError(f"{what}: leave_out={shorten(leave_out)} leaves no class; name fewer")
    return found


def read_names(
    what: str, path: str, directories: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """Returns the class name of each directory, and notes.

    Without a file, it is the directory's name with underscores as spaces; so it is for directories
    that the file does not list, with a note.

    Args:
        what: the data set's name, for messages.
        path: a UTF-8 CSV file whose header names the columns `COLUMNS`; "" for none.
        directories: the class directories.

    Raises:
        DataError: the file cannot be read, or lists a directory twice or one that does not exist.
    """
    names = {each: spaced(each) for each in directories}
    if not path:
        return names, []
    file = expand(path)
    _, rows = read_rows(file, COLUMNS, filled=COLUMNS)
    listed: dict[str, str] = {}
    for line, row in rows:
        directory = row["directory"]
        if directory not in names:
            raise unknown(f"directory in {file}, line {line}:", directory, directories)
        if directory in listed:
            raise DataError(f"{file}, line {line}: {shorten(directory)} is listed twice; keep one")
        listed[directory] = row["name"]
    rest = [each for each in directories if each not in listed]
    if not rest:
        return listed, []
    shown = ", ".join(rest[:3]) + (f", … ({len(rest)} in all)" if len(rest) > 3 else "")
    note = f"{Path(file).name} does not list {shown}: these directories are named by their names"
    return names | listed, [f"{what}: {note}"]
