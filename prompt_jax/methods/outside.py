"""Methods from outside the package, named "module:ATTRIBUTE".

What a person names on the command line or in a config is imported. What a file names, a stranger's
model.json perhaps, is not: importing runs code. It is found only where the module is imported
already, or allowed by PROMPT_JAX_METHODS.
"""

import importlib
import os
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prompt_jax.errors import PromptError, unknown
from prompt_jax.methods.encoders import Encoders
from prompt_jax.methods.method import Method, Output, Prompts, Task, look

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
    module = _module_of(name)
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and f"{module}.".startswith(f"{error.name}."):
            raise PromptError(
                f"method {name!r}: there is no module {error.name!r}; it is looked for in the "
                "folder that the command is called from, and in those of PYTHONPATH"
            ) from None
        raise _failing(name, module, error) from error
    except (Exception, SystemExit) as error:  # whatever a module raises
        raise _failing(name, module, error) from error
    return find(name)


def find(name: str) -> Method | Encoders:
    """A method whose module is imported already, or is one of `ALLOWED`.

    Raises:
        PromptError: it is neither, or holds no such method.
    """
    module, attribute = _module_of(name), name.partition(":")[2]
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
            f"{name} is of type {type(found).__name__}; it must be a Method, or for videos and "
            "texts an Encoders"
        )
    usable = [key for key, value in there.items() if isinstance(value, Method | Encoders)]
    raise unknown(f"method of {module}:", attribute, usable)


def _module_of(name):
    """The module's name; what is none is never looked for, nor told as part of a command."""
    module = name.partition(":")[0]
    if not all(part.isidentifier() for part in module.split(".")):
        raise PromptError(
            f"method {name[:200]!r}: {module[:200]!r} is no name of a module; write "
            "my_package.my_module:METHOD"
        )
    return module


def check_logits(
    name: str, method: Method, prompts: Prompts, task: Task, images: np.ndarray
) -> None:
    """Refuses what would fail late, or mean something else: a method of other shapes.

    Args:
        name: of the method.
        prompts: of its `init`.
        task: what it works on.
        images: a batch of B, as tests have it; its numbers do not matter.

    Raises:
        PromptError: it returns no Output whose logits are float[iterations, B, K]; says what.
    """

    def forward(prompts, images):
        prepared = method.prepare(prompts, task)
        return method.forward(prompts, prepared, task, look(method, task, images))

    output = jax.eval_shape(forward, prompts, images)
    if not isinstance(output, Output):
        what = type(output).__name__
        raise PromptError(f"method {name}: forward returns a {what}; it must be an Output")
    found = output.logits
    batch, classes = len(images), len(task.trained)
    right = found.ndim == 3 and len(found) and found.shape[1:] == (batch, classes)
    if not right or not jnp.issubdtype(found.dtype, jnp.floating):
        raise PromptError(
            f"method {name}: forward returns logits {found.dtype}{list(found.shape)}; of a batch "
            f"of {batch} and {classes} classes they must be float[iterations, {batch}, {classes}]"
        )


def _failing(name, module, error):
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return PromptError(f"method {name!r}: {module} cannot be imported ({reason})")
