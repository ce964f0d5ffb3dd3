"""From a BERT-like Hugging Face directory to a directory that Glossa serves.

The one entry point that other recipes call is :func:`convert_directory`.
Nothing here needs torch: numpy, onnx, onnxruntime, tokenizers and safetensors are enough.
"""

from .pipeline import Quality, convert_directory
from .smooth import Options

__all__ = ["Options", "Quality", "convert_directory"]
