"""Methods from outside the package, named "module:ATTRIBUTE".

A method named on the command line or in a config is imported. One named in a file, such as an
untrusted model.json, is not, because importing runs code: it is used only if its module is imported
already or listed in PROMPT_JAX_METHODS.
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
from prompt_jax.methods.inputs import encode_input
from prompt_jax.methods.method import Method, Output, Prompts, Task

ALLOWED = "PROMPT_JAX_METHODS"
"""Environment variable: comma-separated modules that files may name."""


def is_outside(name: str) -> bool:
    """Returns whether a name is "module:ATTRIBUTE"."""
    return ":" in name


def load(name: str) -> Method | Encoders:
    """Imports a module that the user named, from PYTHONPATH or the current directory.

    Raises:
        PromptError: the module does not exist, cannot be imported, or has no such method.
    """
    module = _module_of(name)
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and f"{module}.".startswith(f"{error.name}."):
            raise PromptError(
                f"method {name!r}: there is no module {error.name!r} in the current directory or "
                "on PYTHONPATH"
            ) from None
        raise _failing(name, module, error) from error
    except (Exception, SystemExit) as error:  # whatever a module raises
        raise _failing(name, module, error) from error
    return find(name)


def find(name: str) -> Method | Encoders:
    """Returns a method whose module is imported already or is listed in `ALLOWED`.

    Raises:
        PromptError: the module is neither, or has no such method.
    """
    module, attribute = _module_of(name), name.partition(":")[2]
    if sys.modules.get(module) is None:
        if module in os.environ.get(ALLOWED, "").split(","):
            return load(name)
        raise PromptError(
            f"method {name!r} is not part of this package, and modules named in files are not "
            f"imported, because that runs their code; if you trust it, import {module} first, or "
            f"for a command set {ALLOWED}={module}"
        )
    # Not getattr: a module's own __getattr__ may import more.
    there: dict[str, Any] = vars(sys.modules[module])
    found = there.get(attribute)
    if isinstance(found, Method | Encoders):
        return found
    if attribute in there:
        raise PromptError(
            f"{name} is of type {type(found).__name__}; it must be a Method, or an Encoders for "
            "videos and texts"
        )
    usable = [key for key, value in there.items() if isinstance(value, Method | Encoders)]
    raise unknown(f"method of {module}:", attribute, usable)


def _module_of(name: str) -> str:
    """Returns the module's name, checked so that it is safe to import or to print in a command."""
    module = name.partition(":")[0]
    if not all(part.isidentifier() for part in module.split(".")):
        raise PromptError(
            f"method {name[:200]!r}: {module[:200]!r} is not a module name; write "
            "my_package.my_module:METHOD"
        )
    return module


def check_logits(
    name: str, method: Method, prompts: Prompts, task: Task, images: np.ndarray
) -> None:
    """Checks the shapes of a method's output before training, where errors would come late.

    Args:
        name: of the method.
        prompts: the result of its `init`.
        task: its task.
        images: a test batch; only its shape matters.

    Raises:
        PromptError: the result is not an Output with logits float[iterations, batch, classes].
    """

    def forward(prompts: Prompts, images: jax.Array) -> Output:
        prepared = method.prepare(prompts, task)
        return method.forward(prompts, prepared, task, encode_input(method, task, images))

    output = jax.eval_shape(forward, prompts, images)
    if not isinstance(output, Output):
        what = type(output).__name__
        raise PromptError(f"method {name}: forward returns a {what}; it must be an Output")
    found = output.logits
    batch, classes = len(images), len(task.trained)
    right = found.ndim == 3 and len(found) and found.shape[1:] == (batch, classes)
    if not right or not jnp.issubdtype(found.dtype, jnp.floating):
        raise PromptError(
            f"method {name}: forward returns logits {found.dtype}{list(found.shape)}; for a batch "
            f"of {batch} and {classes} classes they must be float[iterations, {batch}, {classes}]"
        )


def _failing(name: str, module: str, error: BaseException) -> PromptError:
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return PromptError(f"method {name!r}: {module} cannot be imported ({reason})")
