"""Writes what depends on the address where the code is published.

    python notebooks/set_up.py

This is the first cell of every notebook, which installs prompt_jax if it is missing, and README's
line that installs it and its button for Colab. The address comes from pyproject.toml, where the
publisher of the code sets it.
"""

import json
import re
import tomllib
from pathlib import Path

FOLDER = Path(__file__).parent
README = FOLDER.parent / "README.md"
GITHUB = "https://github.com/"
COLAB = "https://colab.research.google.com/"
# The package's extras that a notebook needs; each has the name of the package that it installs.
EXTRAS = {"quickstart": [], "own_images": [], "pytorch": ["torch"]}
CELL = """
# Installs prompt_jax if it is missing: from a wheel in this directory, the surrounding checkout, or
# its published repository. An installed JAX keeps its version, and so does its libtpu on a TPU.
import importlib.util
import os
import shutil
import subprocess
import sys
from glob import glob
from importlib.metadata import distributions
from pathlib import Path

REPOSITORY = __REPOSITORY__  # from pyproject.toml; see CONTRIBUTING.md
EXTRAS = __EXTRAS__


def find_source():
    here = Path.cwd()
    wheels = list(here.glob("prompt_jax-*.whl"))
    if len(wheels) > 1:
        raise SystemExit(f"{len(wheels)} wheels in {here}: leave one prompt_jax-*.whl there")
    checkouts = [place for place in (here.parent, here) if (place / "prompt_jax").is_dir()]
    checkouts = [place for place in checkouts if (place / "setup.py").is_file()]
    sources = [*wheels, *checkouts, *([f"git+{REPOSITORY}"] if REPOSITORY else [])]
    if not sources:
        raise SystemExit(
            "prompt_jax is not installed, and this notebook names no repository to install it "
            f"from. Put a wheel, prompt_jax-*.whl, into {here}, or run it inside a checkout"
        )
    return str(sources[0])


if any(importlib.util.find_spec(name) is None for name in ["prompt_jax", *EXTRAS]):
    source, installed = find_source(), {each.name: each.version for each in distributions()}
    on_tpu = "COLAB_TPU_ADDR" in os.environ or "TPU_ACCELERATOR_TYPE" in os.environ
    on_tpu = on_tpu or bool(glob("/dev/accel*") or glob("/dev/vfio/[0-9]*"))
    if "jax" not in installed and shutil.which("nvidia-smi"):
        EXTRAS.append("cuda12")
    elif "jax" not in installed and on_tpu:
        EXTRAS.append("tpu")
    elif on_tpu and "libtpu" not in installed and "TPU_LIBRARY_PATH" not in os.environ:
        print(f"JAX finds no libtpu for this TPU: pip install 'jax[tpu]=={installed['jax']}'")
    names = [name for name in ("jax", "jaxlib", "libtpu", "torch") if name in installed]
    kept = [f"{name}=={installed[name]}" for name in names]
    extras = f"[{','.join(EXTRAS)}]" if EXTRAS else ""
    wanted = f"prompt_jax{extras} @ {source}" if "git+" in source else f"{source}{extras}"
    subprocess.check_call([sys.executable, "-m", "pip", "install", "--quiet", wanted, *kept])

# Compiled programs are kept on disk, so that a cell that runs again does not wait for them. Set
# before JAX is imported.
cache = Path.home() / ".cache" / "prompt_jax" / "xla"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.02")
""".strip()


def repository() -> str:
    """Returns the address in pyproject.toml; empty if none is set."""
    content = (FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8")
    return tomllib.loads(content)["project"].get("urls", {}).get("Source", "")


def source_of(name: str, address: str) -> str:
    """Returns the first cell of a notebook for a repository address."""
    extras = json.dumps(EXTRAS[name])
    return CELL.replace("__REPOSITORY__", json.dumps(address)).replace("__EXTRAS__", extras)


def install_line(address: str) -> str:
    """Returns README's command that installs the package, of a checkout without an address."""
    if not address:
        return "pip install .       # '.[cuda12]' for a GPU, '.[tpu]' for a TPU"
    return (
        f"pip install 'prompt_jax @ git+{address}'  # prompt_jax[cuda12] for a GPU, [tpu] for a TPU"
    )


def colab_button(address: str) -> str:
    """Returns README's link that opens the quickstart in Colab; empty without GitHub's address."""
    if not address.startswith(GITHUB):
        return ""
    place = f"github/{address.removeprefix(GITHUB).removesuffix('.git').strip('/')}"
    button = "[![Open in Colab](docs/colab.svg)]"
    return f"{button}({COLAB}{place}/blob/main/notebooks/quickstart.ipynb)"


def rewrite(text: str, address: str) -> str:
    """Returns README's text with both parts for an address, each between two comments."""
    parts = {
        "install": f"```bash\n{install_line(address)}\n```\n",
        "colab": f"{colab_button(address)}\n".lstrip("\n"),
    }
    for name, part in parts.items():
        begin, end = f"<!-- {name} -->\n", "<!-- end -->\n"
        whole = begin + part + end
        text, found = re.subn(f"{begin}(?s:.*?){end}", lambda _, whole=whole: whole, text)
        if found != 1:
            raise SystemExit(f"{README}: {found} parts begin with <!-- {name} -->, instead of one")
    return text


def main() -> None:
    """Writes the cell into every notebook, and README's parts."""
    text = rewrite(README.read_text(encoding="utf-8"), repository())
    README.write_text(text, encoding="utf-8")
    for name in EXTRAS:
        path = FOLDER / f"{name}.ipynb"
        book = json.loads(path.read_text(encoding="utf-8"))
        cell = next(each for each in book["cells"] if each["cell_type"] == "code")
        cell["source"] = source_of(name, repository()).splitlines(keepends=True)
        text = json.dumps(book, indent=1, ensure_ascii=False) + "\n"
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
