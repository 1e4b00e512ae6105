"""Methods from outside the package, named "module:ATTRIBUTE".

What a person names on the command line or in a config is imported. What a file names, a stranger's
model.json perhaps, is not: importing runs code. It is found only where the module is imported
already, or allowed by PROMPT_JAX_METHODS.
"""

import importlib
import os
import sys
from typing import Any

from prompt_jax.errors import PromptError, unknown
from prompt_jax.methods.encoders import Encoders
from prompt_jax.methods.method import Method

ALLOWED = "PROMPT_JAX_METHODS"
"""Environment variable: modules, with commas between them, that files may name."""


def is_outside(name: str) -> bool:
    """Whether it is "module:ATTRIBUTE", not a name from the tables."""
    return ":" in name


def load(name: str) -> Method | Encoders:
    """Imports the module that a person has named, from PYTHONPATH or the current folder.

    Raises:
        PromptError: there is no such module, it cannot be imported, or holds no such method.
    """
    module = name.partition(":")[0]
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and f"{module}.".startswith(f"{error.name}."):
            raise PromptError(
                f"method {name!r}: there is no module {error.name!r}; it is looked for in the "
                "folder that the command is called from, and in those of PYTHONPATH"
            ) from None
        raise _failing(name, module, error) from error
    except Exception as error:  # whatever a module raises
        raise _failing(name, module, error) from error
    return find(name)


def find(name: str) -> Method | Encoders:
    """A method whose module is imported already, or is one of `ALLOWED`.

    Raises:
        PromptError: it is neither, or holds no such method.
    """
    module, _, attribute = name.partition(":")
    if sys.modules.get(module) is None:
        if module in os.environ.get(ALLOWED, "").split(","):
            return load(name)
        raise PromptError(
            f"method {name!r} is not one of this package, and what a file names is not imported by "
            f"itself, as that runs its code; if you trust it, import {module} first, or of a "
            f"command set {ALLOWED}={module}"
        )
    # Not getattr: a module's own __getattr__ may import more.
    there: dict[str, Any] = vars(sys.modules[module])
    found = there.get(attribute)
    if isinstance(found, Method | Encoders):
        return found
    if attribute in there:
        raise PromptError(
            f"{name} is of type {type(found).__name__}; it must be a Method, or of clips and texts "
            "an Encoders"
        )
    usable = [key for key, value in there.items() if isinstance(value, Method | Encoders)]
    raise unknown(f"method of {module}:", attribute, usable)


def _failing(name, module, error):
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return PromptError(f"method {name!r}: {module} cannot be imported ({reason})")
