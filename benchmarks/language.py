"""A language model of 0.27 GB to 4 bits: SmolLM2-135M's shape with random weights, by us and by AutoRound."""

from __future__ import annotations

import sys
from pathlib import Path

from judging import write_tokenizer

GROUP = 64  # which divides its rows of 576


def make_language_model(folder: Path) -> None:
    """Write a Llama of random weights in bfloat16, as transformers saves it, with a tokenizer of made-up words."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    write_tokenizer(folder)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    sizes = {"vocab_size": 49_152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30}
    config = LlamaConfig(**sizes, num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True)
    LlamaForCausalLM(config).save_pretrained(folder)


def by_autoround(source: Path, out: Path) -> None:
    """Have AutoRound round to nearest, tensor by tensor, which it calls model-free."""
    from auto_round import AutoRound
    from auto_round.schemes import preset_name_to_scheme

    scheme = preset_name_to_scheme("W4A16")
    scheme.group_size = GROUP
    rounding = AutoRound(str(source), scheme=scheme, iters=0, disable_opt_rtn=True, model_free=True)
    rounding.quantize_and_save(str(out), format="auto_round")


if __name__ == "__main__":  # it starts processes, which import this file
    by_autoround(Path(sys.argv[1]), Path(sys.argv[2]))
