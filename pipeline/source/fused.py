"""Fused: layers of one input that vLLM and sglang load as one, for which a scheme must treat them alike.

The names are those that llm-compressor knows (``DEFAULT_FUSED_MAPPINGS`` of its ``model_free_ptq``).
"""

from __future__ import annotations

from typing import Final

TOGETHER: Final = (
    ("q_proj", "k_proj", "v_proj"),
    ("gate_proj", "up_proj"),
    ("w1", "w3"),
    ("q_a_proj", "kv_a_proj_with_mqa"),
    ("wq_a", "wkv_a_with_mqa"),
)


def fused(name: str) -> str:
    """Return what a module and others of its parent are together, such as ``attn.q_proj+k_proj+v_proj``.

    Empty where it is loaded by itself.
    """
    parent, dot, leaf = name.rpartition(".")
    return next((f"{parent}{dot}{'+'.join(leaves)}" for leaves in TOGETHER if leaf in leaves), "")
