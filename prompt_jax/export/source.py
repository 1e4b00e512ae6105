"""One readable file of PyTorch, put together from the parts that a method needs."""

import ast
import pathlib
import sys
from collections.abc import Iterable, Iterator

PARTS = pathlib.Path(__file__).parent / "torch_parts"
_PACKAGE = "prompt_jax.export.torch_parts."
_WIDTH = 100


_AVERAGE = "frame_average"
_MAIN = 'if __name__ == "__main__":\n    main(load)\n'
_MIXED = '''class {name}OfClips(FrameAverage, {name}):
    """Clips for pictures."""


load = {name}OfClips.load
'''


def assemble(part: str, docstring: str, on_clips: bool = False, main: bool = True) -> str:
    """The source of a module that imports nothing of prompt_jax.

    Args:
        part: the method's; those that it imports come before it, each once.
        docstring: the module's.
        on_clips: whether it is a method of pictures that gets clips.
        main: whether the file is a program that says what pictures or clips show.
    """
    seen: set[str] = set()
    needed = list(_order(part, seen))
    needed += _order(_AVERAGE, seen) if on_clips else ()
    bodies = [_heading(name) + _body(name) for name in needed]
    bodies += [_MIXED.format(name=_loaded(part))] if on_clips else []
    bodies += [_MAIN] if main else []
    return "\n\n".join([f'"""{docstring}"""\n\n{_imports(needed)}', *bodies])


def _loaded(part: str) -> str:
    """The class whose `load` the last line of a method's part names."""
    last = _tree(part).body[-1]
    assert isinstance(last, ast.Assign)
    return ast.unparse(last.value).removesuffix(".load")


def _order(part: str, seen: set[str]) -> Iterator[str]:
    seen.add(part)
    for node in _tree(part).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(_PACKAGE):
            other = (node.module or "").removeprefix(_PACKAGE)
            if other not in seen:
                yield from _order(other, seen)
    yield part


def _source(part: str) -> str:
    return (PARTS / f"{part}.py").read_text(encoding="utf-8")


def _tree(part: str) -> ast.Module:
    return ast.parse(_source(part))


def _heading(part: str) -> str:
    """A part's docstring as a comment."""
    lines = (ast.get_docstring(_tree(part)) or "").splitlines()
    return "".join(f"# {line}".rstrip() + "\n" for line in ["-" * (_WIDTH - 2), *lines])


def _body(part: str) -> str:
    """What stands behind a part's imports, comments included."""
    nodes = _tree(part).body
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    last = [nodes[0], *imports][-1].end_lineno
    lines = _source(part).splitlines(keepends=True)[last:]
    return "\n\n" + "".join(lines).strip("\n") + "\n"


def _imports(parts: Iterable[str]) -> str:
    """All that the parts import of others, sorted as a formatter would."""
    whole: set[str] = set()
    names: dict[str, set[str]] = {}
    for node in (node for part in parts for node in _tree(part).body):
        if isinstance(node, ast.Import):
            whole |= {ast.unparse(ast.Import([alias])) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith(_PACKAGE):
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
