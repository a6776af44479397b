"""The embedded Hub: the Hugging Face Hub's protocol on loopback with a folder as its store.

The unmodified ``huggingface_hub`` client, ``hf``, diffusers, transformers and datasets work against it with nothing
but ``HF_ENDPOINT`` set. Large files come and go by Xet where the client has ``hf_xet``, else by LFS and plain HTTP.
It knows nothing of who publishes there. `localhub.server.running` serves it from a thread.
"""
