"""What several folders of tests share: models of random weights, small enough to answer in a second.

Layers are 64 wide, except the 32 values that CLIP pools: they make one Linear whose columns are no multiple of a block
of bitsandbytes.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

# Read by huggingface_hub when it is first imported: nobody else is called, progress is the console's, and what it keeps
# is these tests' own. They run without Xet where HF_HUB_DISABLE_XET is set.
os.environ |= {"HF_HOME": mkdtemp(prefix="hf-"), "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
# Read by torch when it is first imported, here and in the children: models are so small that threads only wait for each
# other, and tests of several processes share the processors.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest

from tests.desk import answers, once, ready, stocked

__all__ = ["answers", "ready", "stocked"]

# A shell that runs tests in the background has Ctrl-C ignored, and every process that they start would ignore it too.
signal.signal(signal.SIGINT, signal.default_int_handler)

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="session", autouse=True)
def _nothing_left() -> Iterator[None]:
    """Remove what huggingface_hub kept."""
    yield
    shutil.rmtree(os.environ["HF_HOME"], ignore_errors=True)


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return once(tmp_path_factory, "pipeline", lambda folder: _pipeline().save_pretrained(folder / "source")) / "source"


@pytest.fixture(scope="session")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT that reads letters, as sentence-transformers lays one out."""
    folder = _bert("BertModel", tmp_path_factory.mktemp("embedders") / "tiny-bert", "sentence-similarity")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}\n')
    (folder / "modules.json").write_text('[{"path": ""}, {"path": "1_Pooling"}]\n')
    return folder


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT that reads letters and knows three labels."""
    folder = tmp_path_factory.mktemp("classifiers") / "tiny-bert"
    return _bert("BertForSequenceClassification", folder, "text-classification", num_labels=3)


def _bert(kind: str, folder: Path, task: str, **further: Any) -> Path:
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=64,
        max_position_embeddings=32,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        initializer_range=0.5,
        **further,
    )
    getattr(transformers, kind)(config).save_pretrained(folder)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(tokens) + "\n")
    transformers.BertTokenizerFast(vocab=str(vocabulary), model_max_length=32).save_pretrained(folder)
    (folder / "README.md").write_text(f"---\nlicense: apache-2.0\npipeline_tag: {task}\n---\n# Tiny\n")
    return folder


def _pipeline() -> Any:
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline

    torch.manual_seed(0)
    clip, clip_tokenizer = _clip_text_encoder()
    t5, t5_tokenizer = _t5_encoder()
    pipe = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_autoencoder(),
        text_encoder=clip,
        tokenizer=clip_tokenizer,
        text_encoder_2=t5,
        tokenizer_2=t5_tokenizer,
        transformer=_transformer(),
    )
    return pipe.to(torch.bfloat16)


@pytest.fixture(scope="session")
def clip_tokenizer() -> Any:
    return _clip_tokenizer()


def _clip_tokenizer() -> Any:
    from transformers import CLIPTokenizer

    tokens = ["<|startoftext|>", "<|endoftext|>", *(letter + end for letter in LETTERS for end in ("", "</w>"))]
    numbered = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=numbered, merges=[], model_max_length=16)


def _clip_text_encoder() -> tuple[Any, Any]:
    from transformers import CLIPTextConfig, CLIPTextModel

    tokenizer = _clip_tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return CLIPTextModel(config), tokenizer


def _t5_encoder() -> tuple[Any, Any]:
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((letter, -3.0) for letter in LETTERS)]
    config = T5Config(vocab_size=64, d_model=64, d_kv=16, d_ff=128, num_layers=1, num_heads=4)
    return T5EncoderModel(config), T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=16)


def _transformer() -> Any:
    from diffusers import FluxTransformer2DModel

    return FluxTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=32,
        num_attention_heads=2,
        joint_attention_dim=64,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 12, 16),
    )


def _autoencoder() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(32,),
        latent_channels=16,
        norm_num_groups=8,
        layers_per_block=1,
        use_quant_conv=False,
        use_post_quant_conv=False,
        shift_factor=0.0,
        scaling_factor=1.0,
    )
