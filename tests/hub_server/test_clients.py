"""What people use works unchanged: the command line, diffusers, transformers and datasets, by HF_ENDPOINT alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Run = Callable[..., str]


def test_the_hf_command_uploads_and_downloads_a_folder(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "weights").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    (folder / "weights" / "model.safetensors").write_bytes(bytes(range(256)) * 5000)

    run("repos", "create", "alice/model")
    run("upload", "alice/model", str(folder), ".", "--commit-message", "Upload the model")
    run("download", "alice/model", "--local-dir", str(tmp_path / "back"))

    for name in ("README.md", "weights/model.safetensors"):
        assert (tmp_path / "back" / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.nightly
def test_diffusers_and_transformers_push_models_and_load_them_back(run: Run, api: HfApi) -> None:
    run(
        code="""
import torch
from diffusers import FluxTransformer2DModel
from transformers import BertConfig, BertModel

def same(one, other):
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())

torch.manual_seed(0)
flux = FluxTransformer2DModel(
    in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
    joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=[4, 4, 8],
)
flux.push_to_hub("alice/tiny-flux", token="hf_any")
assert same(flux, FluxTransformer2DModel.from_pretrained("alice/tiny-flux"))

bert = BertModel(BertConfig(
    vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
    max_position_embeddings=16,
))
bert.push_to_hub("alice/tiny-bert", token="hf_any")
assert same(bert, BertModel.from_pretrained("alice/tiny-bert"))
"""
    )
    (weights,) = api.get_paths_info("alice/tiny-flux", "diffusion_pytorch_model.safetensors")
    assert weights.lfs is not None
    assert api.model_info("alice/tiny-bert").library_name == "transformers"


def test_datasets_loads_a_file_of_json_lines(run: Run, api: HfApi) -> None:
    rows = [{"prompt": f"a drawing of {number} cats"} for number in range(3)]
    api.create_repo("alice/prompts", repo_type="dataset")
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    api.upload_file(path_or_fileobj=content, path_in_repo="train.jsonl", repo_id="alice/prompts", repo_type="dataset")

    code = "import datasets; print(datasets.load_dataset('alice/prompts', split='train')['prompt'][2])"
    assert run(code=code).strip() == "a drawing of 2 cats"
