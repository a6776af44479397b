"""Xet inside the embedded Hub: large files as chunks that are sent and kept once, whoever sends them.

The protocol is https://huggingface.co/docs/xet; ``hf_xet`` 1.8 was the client it was measured with.
"""
