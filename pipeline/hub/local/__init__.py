"""The embedded Hub: the Hugging Face Hub's protocol on loopback with a folder as its store.

The unmodified ``huggingface_hub`` client, ``hf``, diffusers, transformers and datasets work against it with nothing
but ``HF_ENDPOINT`` set. It knows git and LFS uploads; clients that have ``hf_xet`` installed need
``HF_HUB_DISABLE_XET=1``, for they do not fall back by themselves.
"""

from pipeline.hub.local.server import running, serve

__all__ = ["running", "serve"]
