"""Tiny language models of random weights, which read letters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

LETTERS = "abcdefghijklmnopqrstuvwxyz .,?ABCDEFGHIJKLMNOPQRSTUVWXYZ:\n"
TEMPLATE = (
    "{{ 'S:Hello' }}{% for message in messages %}{{ message['role'][0] + ':' + message['content'] + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'a:' }}{% endif %}"
)


def tokenizer(letters: str = LETTERS, template: str | None = TEMPLATE) -> Any:
    """Return a tokenizer of letters, which begins each text with ``<s>``."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    known = {token: number for number, token in enumerate(["<s>", "</s>", "<unk>", *letters])}
    made = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made.decoder = decoders.Fuse()
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    found = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    found.chat_template = template
    return found


def llama(folder: Path, **further: Any) -> Path:
    """Write a Llama with its tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "max_position_embeddings": 128}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(
        **{
            "vocab_size": 64,
            **sizes,
            **heads,
            "initializer_range": 0.3,
            "bos_token_id": 0,
            "eos_token_id": 1,
            **further,
        }
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\npipeline_tag: text-generation\n---\n# Tiny\n")
    return folder


PICTURED = (
    "{% for message in messages %}{{ message['role'][0] + ':' }}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>' }}{% else %}{{ part['text'] }}{% endif %}{% endfor %}{{ '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'a:' }}{% endif %}"
)


def llava(folder: Path) -> Path:
    """Write a Llava with its processor: a CLIP that sees 16 by 16 pixels before a Llama."""
    import torch
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    spread = {"initializer_range": 0.3, "max_position_embeddings": 128, "vocab_size": 64}
    reads = tokenizer()
    reads.add_tokens(["<image>"], special_tokens=True)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**sizes, image_size=16, patch_size=8),
        text_config=LlamaConfig(**sizes, **spread, num_key_value_heads=2, bos_token_id=0, eos_token_id=1),
        image_token_id=reads.convert_tokens_to_ids("<image>"),
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    size = {"height": 16, "width": 16}
    LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=size),
        reads,
        patch_size=8,
        vision_feature_select_strategy="default",
        chat_template=PICTURED,
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\npipeline_tag: image-text-to-text\n---\n# Tiny\n")
    return folder
