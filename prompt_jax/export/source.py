"""Assembles one readable PyTorch file from the parts that a method needs.

All of its text is from this package, or from a module that the user names. Nothing from a model's
files is an argument here, so no model can inject code; values of a model are in config.json and are
read as data.
"""

import ast
import functools
import importlib.util
import pathlib
import sys
from collections.abc import Iterable, Iterator
from typing import Literal

from prompt_jax.errors import PromptError, unknown

PARTS = pathlib.Path(__file__).parent / "torch_parts"
_PACKAGE = "prompt_jax.export.torch_parts."
# Files of the library that are copied unchanged: they import nothing from it.
_SHARED = {
    "prompt_jax.methods.bounds": PARTS.parents[1] / "methods/bounds.py",
    "prompt_jax.text.texts": PARTS.parents[1] / "text/texts.py",
}
_WIDTH = 100


_AVERAGE = "frame_average"
_MAIN = 'if __name__ == "__main__":\n    main(load)\n'
_MIXED = '''class {name}OfVideos(FrameAverage, {name}):
    """The same method on videos."""


load = {name}OfVideos.load
'''


Task = Literal["images", "videos", "captions"]
"""The task of a model: classifies images or videos, or compares videos with captions."""

_LOADING = """\
    model = load(DIR, clip)  # clip: transformers' CLIPModel, a state dict, a file or a directory"""
_USES: dict[Task, str] = {
    "images": f"""Classifies images with a prompt-tuned CLIP; config.json has classes and settings.

{_LOADING}
    model.predict(["image.jpg"])  # [[(class, probability), …]]
    logits = model(images)  # float[B, K] of normalized images float[B, 3, S, S]

    python model.py --clip CLIP image.jpg""",
    "videos": f"""Classifies videos with a prompt-tuned CLIP; config.json has classes and settings.

{_LOADING}
    model.predict(["FRAMES"])  # [[(class, probability), …]] of directories of frames
    logits = model(videos)  # float[B, K] of normalized videos float[B, F, 3, S, S]

    python model.py --clip CLIP FRAMES""",
    "captions": f"""Compares videos with texts, using a prompt-tuned CLIP; config.json has settings.

{_LOADING}
    videos = torch.stack([model.preprocess("FRAMES")])  # float[B, F, 3, S, S]
    model.similarities(videos, texts, tokenizer)  # float[N, B], a row for each text""",
}
_WRITTEN_BY = "Written by prompt_jax; edit it freely."


def methods() -> set[str]:
    """Returns the names of the parts that are methods: their last line defines `load`."""
    names = {path.stem for path in PARTS.glob("[!_]*.py")}
    return {name for name in names if _source(name).splitlines()[-1].startswith("load = ")}


def assemble(part: str, task: Task = "images", on_videos: bool = False) -> str:
    """Returns the source of a module that does not import prompt_jax.

    Args:
        part: one of `methods`, or "module:CLASS" for which `check_own`; the parts that it imports
            come before it, each once.
        task: the task of the model. With classes, the file is also a command.
        on_videos: whether it is an image method applied to videos.

    Raises:
        ValueError: there is no such part.
    """
    if not is_own(part) and part not in methods():
        raise ValueError(f"{part!r} is not a part of a method")
    seen: set[str] = set()
    needed = list(_order(part, seen))
    needed += _order(_AVERAGE, seen) if on_videos else ()
    bodies = [_heading(name) + _body(name) for name in needed]
    bodies += [_MIXED.format(name=_loaded(part))] if on_videos else []
    bodies += [_MAIN] if task != "captions" else []
    docstring = f'"""{_USES[task]}\n\n{_WRITTEN_BY}\n"""'
    return "\n\n".join([f"{docstring}\n\n{_imports(needed)}", *bodies])


def is_own(part: str) -> bool:
    """Returns whether a part is the user's, "module:CLASS"."""
    return ":" in part


def check_own(part: str) -> None:
    """Checks a PyTorch class of the user: its file becomes a part of the export.

    Args:
        part: "module:CLASS"; the class is like those of `torch_parts`, see docs/export.md.

    Raises:
        PromptError: there is no such file or class, or it imports what the export does not contain.
    """
    if not is_own(part):
        raise PromptError(f"--torch-class {part}: write my_package.my_torch:CLASS")
    module, name = part.split(":", 1)
    try:
        tree = ast.parse(_own_file(module).read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise PromptError(f"{module}: line {error.lineno}: {error.msg}") from None
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    if name not in classes:
        raise unknown(f"class of {module}:", name, classes)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not _is_part(node):
            names = ["."] if node.level else [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        if wrong := [one for one in names if one.split(".")[0] in ("", "prompt_jax", "jax")]:
            raise PromptError(
                f"{module}, line {node.lineno}: imports {wrong[0]!r}, which the export does not "
                f"contain; import from {_PACKAGE}…, torch and other installed packages"
            )


@functools.cache
def _own_file(module: str) -> pathlib.Path:
    """Returns the file of a module, without running it."""
    try:
        found = importlib.util.find_spec(module) if module else None
    except (ImportError, ValueError):
        found = None
    if found is None or not found.origin or not found.origin.endswith(".py"):
        raise PromptError(
            f"there is no module {module!r} in the current directory or on PYTHONPATH; name it as "
            "my_package.my_torch:CLASS"
        )
    return pathlib.Path(found.origin)


def _loaded(part: str) -> str:
    """Returns the class whose `load` the last line of a method's part names."""
    last = _tree(part).body[-1]
    assert isinstance(last, ast.Assign)
    return ast.unparse(last.value).removesuffix(".load")


def _order(part: str, seen: set[str]) -> Iterator[str]:
    seen.add(part)
    for node in _tree(part).body:
        if isinstance(node, ast.ImportFrom) and _is_part(node):
            other = (node.module or "").removeprefix(_PACKAGE)
            if other not in seen:
                yield from _order(other, seen)
    yield part


def _is_part(node: ast.ImportFrom) -> bool:
    """Returns whether an import is from a part, so that its source is included."""
    return (node.module or "").startswith(_PACKAGE) or node.module in _SHARED


def _source(part: str) -> str:
    if is_own(part):
        module, name = part.split(":", 1)
        text = _own_file(module).read_text(encoding="utf-8").rstrip()
        return f"{text}\n\n\nload = {name}.load\n"
    return _SHARED.get(part, PARTS / f"{part}.py").read_text(encoding="utf-8")


def _tree(part: str) -> ast.Module:
    return ast.parse(_source(part))


def _heading(part: str) -> str:
    """Returns the docstring of a part as a comment."""
    lines = (ast.get_docstring(_tree(part)) or "").splitlines()
    return "".join(f"# {line}".rstrip() + "\n" for line in ["-" * (_WIDTH - 2), *lines])


def _body(part: str) -> str:
    """Returns the source after a part's imports, with comments."""
    nodes = _tree(part).body
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    described = nodes[:1] if ast.get_docstring(_tree(part)) is not None else []
    last = [*described, *imports][-1].end_lineno if [*described, *imports] else 0
    lines = _source(part).splitlines(keepends=True)[last:]
    return "\n\n" + "".join(lines).strip("\n") + "\n"


def _imports(parts: Iterable[str]) -> str:
    """Returns the imports of the parts from other packages, sorted as ruff does."""
    whole: set[str] = set()
    names: dict[str, set[str]] = {}
    for node in (node for part in parts for node in _tree(part).body):
        if isinstance(node, ast.Import):
            whole |= {ast.unparse(ast.Import([alias])) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not _is_part(node):
            names.setdefault(node.module or "", set()).update(map(ast.unparse, node.names))
    # Constants come before classes, and these before functions.
    lines = sorted(whole) + [
        f"from {module} import " + ", ".join(sorted(names[module], key=_rank))
        for module in sorted(names)
    ]
    groups: dict[bool, list[str]] = {True: [], False: []}
    for line in lines:
        groups[line.split()[1].split(".")[0] in sys.stdlib_module_names].append(line)
    return "\n\n".join("\n".join(group) for group in groups.values() if group)


def _rank(name: str) -> tuple[int, str]:
    return (0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2, name)
