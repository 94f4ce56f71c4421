"""Packaging of wnet-fsr: W-Net and its baselines as a plugin for BasicSR."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (HERE / "wnet_arch" / "__init__.py").read_text(encoding="utf-8"))[1]

setup(
    name="wnet-fsr",
    version=VERSION,
    description="W-Net face super-resolution, guided by a parsing map estimated from the small face, as a BasicSR plugin",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.9,<3.13",
    packages=find_packages(include=["wnet_arch", "wnet_arch.*"]),
    package_data={
        "wnet_arch.weights": ["*.toml", "*.safetensors", "*.md"],
        "wnet_arch.data.splits": ["*.txt"],
        "wnet_arch.benchmark": ["report.*"],
        "wnet_arch.demo": ["page.css"],
    },
    install_requires=[
        "torch>=2.4.1",
        "torchvision>=0.19.1",
        "basicsr==1.4.2",
        "setuptools; python_version >= '3.12'",  # BasicSR imports distutils
        "pytorch-optimizer>=4.1",  # Muon
        "facexlib>=0.3.0",
        "lmdb>=1.4.1",
        "opencv-python>=4.8.1",
        "pyyaml>=6.0.1",
        "lpips>=0.1.4",
        "numpy>=1.26.4",
        "pillow>=10.0.1",
        "pydantic>=2.5.3",
        "safetensors>=0.4.3",
        "scipy>=1.9",
        "tqdm>=4.65",
        "tomli>=2.5; python_version < '3.11'",
    ],
    extras_require={
        "landmarks": ["dlib-bin>=19.24.6"],
        "fan": ["face-alignment>=1.5.0"],
        "report": ["jinja2>=3.1", "vl-convert-python>=1.7", "matplotlib>=3.7"],
        "onnx": ["onnx>=1.16", "onnxruntime>=1.16.3"],
        "demo": ["gradio>=6.31; python_version >= '3.10'"],  # Gradio 6 needs that Python; 6.0 hides what appears later
        "test": ["pytest>=7.4.4", "pytest-xdist>=3.5", "scikit-image>=0.22", "onnx>=1.16", "ruff>=0.17"],
    },
    entry_points={
        "console_scripts": [
            "basicsr = wnet_arch.cli.basicsr:main",
            "wnet = wnet_arch.cli.wnet:main",
        ],
    },
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Image Processing",
    ],
)
