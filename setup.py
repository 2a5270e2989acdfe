"""Metadata of the package; floors, not pins."""

from pathlib import Path

from setuptools import find_packages, setup

# What `uit report` makes its page with.
REPORT = ["bokeh>=3.9", "jinja2>=3.1", "scikit-learn>=1.5"]
# What `uit demo` serves its page with.
DEMO = ["gradio>=6.31"]
# What `uit export --to=onnx` writes and runs its files with.
EXPORT = ["onnx>=1.19", "onnxruntime>=1.22"]
# The site of docs/, which the tests build too.
DOCS = ["mkdocs>=1.6", "mkdocs-material>=9.7", "mkdocstrings[python]>=1.0"]

setup(
    name="uit-jax",
    version="0.2.0",
    description="Contrastive, label-free image-to-image translation in JAX: from a folder of images to a translator",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[*find_packages(include=["uit_jax", "uit_jax.*"]), "uit_jax.configs"],
    # The recipes stand at the top of the repository and travel inside the package.
    package_data={"uit_jax.demo": ["page.css"], "uit_jax.report": ["page.*"]},
    package_dir={"uit_jax.configs": "configs"},
    install_requires=[
        "absl-py>=2.1",
        "clu>=0.0.12",
        "etils[epath]>=1.9",
        "flax>=0.12",
        "fsspec>=2024.6",
        # tensorflow-datasets imports it without asking for it.
        "importlib-resources>=6.0",
        "jax>=0.10",
        "ml-collections>=1.0",
        "ml-dtypes>=0.5",
        "numpy>=2.0",
        "optax>=0.2.5",
        "orbax-checkpoint>=0.12",
        "pillow>=11.0",
        "rich>=13.0",
        "scipy>=1.14",
        "tensorboard>=2.18",
        "tensorflow-cpu>=2.18; platform_machine == 'x86_64' and sys_platform != 'darwin'",
        "tensorflow>=2.18; platform_machine != 'x86_64' or sys_platform == 'darwin'",
        "tensorflow-datasets>=4.9.7",
        "tifffile>=2024.8.30",
        "tqdm>=4.66",
    ],
    extras_require={
        "demo": DEMO,
        "docs": DOCS,
        "export": EXPORT,
        "cuda": ["jax[cuda12]>=0.10"],
        "tpu": ["jax[tpu]>=0.10"],
        # Buckets, by the libraries that fsspec finds; see uit_jax/paths.py.
        "gcs": ["gcsfs>=2024.6"],
        "s3": ["s3fs>=2024.6"],
        "azure": ["adlfs>=2024.4"],
        "hf": ["huggingface_hub>=0.23"],
        # The tools whose numbers ours are held against; see tests/evaluation/test_standard_tools.py.
        "parity": [
            "clean-fid>=0.1.35",
            "lpips>=0.1.4",
            "prdc>=0.2",
            "pytorch-fid>=0.3",
            "scikit-learn>=1.5",
            "torch>=2.10",
            "torch-fidelity>=0.4",
            "torchvision>=0.25",
        ],
        "report": REPORT,
        "test": [
            "av>=17.0",
            "chex>=0.1.90",
            "ipykernel>=6.29",
            "nbclient>=0.10",
            "nbformat>=5.10",
            "playwright>=1.55",
            "pytest>=8.0",
            "pytest-xdist>=3.8",
            "ruff>=0.8",
            *REPORT,
            *DEMO,
            *DOCS,
            *EXPORT,
        ],
        "video": ["av>=17.0"],
    },
    entry_points={"console_scripts": ["uit = uit_jax.main:command"]},
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Image Processing",
    ],
)
