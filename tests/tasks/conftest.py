"""Sources of other tasks than text to image, small enough to answer in a moment."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.desk import Desk, Shelf, opened

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="session")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of random weights that reads letters, as sentence-transformers lays one out."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("embedders") / "tiny-bert"
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "initializer_range": 0.5,
    }
    BertModel(BertConfig(vocab_size=64, max_position_embeddings=32, **sizes)).save_pretrained(folder)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(tokens) + "\n")
    BertTokenizerFast(vocab=str(vocabulary), model_max_length=32).save_pretrained(folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}\n')
    (folder / "modules.json").write_text('[{"path": ""}, {"path": "1_Pooling"}]\n')
    (folder / "README.md").write_text("---\nlicense: apache-2.0\npipeline_tag: sentence-similarity\n---\n# Tiny\n")
    return folder


@pytest.fixture
def desk(stocked: Shelf, tmp_path: Path) -> Iterator[Desk]:
    shutil.copytree(stocked.root, tmp_path / "hub", symlinks=True)
    (tmp_path / "desk").mkdir()
    with opened(tmp_path / "hub", stocked) as shelf:
        yield Desk(tmp_path / "desk", shelf, tmp_path / "home")
