"""What transformers makes of compressed-tensors' layers, and what stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam
from contract import cases
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedModel,
)

from pipeline.backends import BACKENDS
from pipeline.backends.oracle.conversion import ConversionPlan
from pipeline.backends.oracle.worker import answer
from pipeline.worker.child import WorkerError

SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 96,
    "intermediate_size": 128,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@pytest.mark.parametrize("scheme", BACKENDS["compressed-tensors"].SCHEMES)
def test_transformers_computes_with_what_was_written(
    scheme: str, components: Path, answers: Path, tmp_path: Path
) -> None:
    case = cases.Case("qwen", "compressed-tensors", scheme)
    made = cases.stream_case(case, components / "qwen", answers, tmp_path / "made")
    model = AutoModelForCausalLM.from_pretrained(made.folder)
    source = AutoModelForCausalLM.from_pretrained(components / "qwen", dtype=torch.bfloat16)
    tokens = torch.arange(24)[None]
    own, other = (each(tokens).logits.float() for each in (source, model))
    assert 0 < (own - other).norm() / own.norm() < 0.3
    layer, values = model.model.layers[0].self_attn.q_proj, torch.randn(1, 3, 128, dtype=torch.bfloat16)
    rounded = not torch.equal(layer(values), torch.nn.functional.linear(values, layer.weight))
    assert rounded == (scheme == "fp8-dynamic"), "activations are quantized where the scheme says so, on a CPU too"


def test_what_transformers_would_fail_to_load_is_refused(components: Path) -> None:
    case = cases.Case("t5", "compressed-tensors", "w4a16", (("group_size", 32),))
    with pytest.raises(WorkerError) as told:
        answer(cases.question_of(case, components / "t5"))
    assert "fails to load T5EncoderModel of packed codes" in told.value.what


def asked(make: Callable[[], PreTrainedModel], folder: Path, case: cases.Case, monkeypatch: Any) -> ConversionPlan:
    """Return what becomes of a language model."""
    model = make()
    model.to(torch.bfloat16).save_pretrained(folder)
    monkeypatch.setitem(cases.CLASSES, case.component, ("transformers", type(model).__name__))
    return answer(cases.question_of(case, folder))


def test_what_no_group_divides_and_the_head_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = cases.Case("llama", "compressed-tensors", "w4a16", (("group_size", 64),))
    found = asked(lambda: LlamaForCausalLM(LlamaConfig(**SIZES)), tmp_path, case, monkeypatch)
    down = "model.layers.0.mlp.down_proj"
    assert [name for name, one in found.conversions.items() if one.quantized] == [f"{down}.weight"]
    assert found.kept["model.layers.0.mlp.up_proj"] == "no group of 64 divides its rows of 96"
    assert found.kept["lm_head"] == "output embeddings, which llm-compressor leaves alone as well"
    assert '"lm_head"' in found.config
    assert f'"{down}"' not in found.config


def test_experts_in_one_tensor_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {**SIZES, "num_local_experts": 2, "num_experts_per_tok": 1}
    case = cases.Case("mixtral", "compressed-tensors", "fp8-dynamic")
    with pytest.raises(WorkerError) as told:
        asked(lambda: MixtralForCausalLM(MixtralConfig(**sizes)), tmp_path, case, monkeypatch)
    assert "MixtralForCausalLM holds the experts of 'model.layers.0.mlp.experts" in told.value.what
    assert told.value.kind == "recipe"


def test_layers_that_servers_load_as_one_have_one_global_scale(components: Path, answers: Path, tmp_path: Path) -> None:
    case = cases.Case("qwen", "compressed-tensors", "nvfp4a16")
    made = load_file(cases.weights_of(cases.stream_case(case, components / "qwen", answers, tmp_path / "made").folder))
    source = load_file(cases.weights_of(components / "qwen"))
    (group,) = BACKENDS["compressed-tensors"].configuration("nvfp4a16", {})["config_groups"].values()
    scheme = QuantizationScheme.model_validate(group)
    compressor = BaseCompressor.get_value_from_registry("nvfp4-pack-quantized")
    block = "model.layers.0"
    for names in (
        [f"{block}.self_attn.{name}_proj" for name in "qkv"],
        [f"{block}.mlp.{name}_proj" for name in ("gate", "up")],
        [f"{block}.self_attn.o_proj"],
        [f"{block}.mlp.down_proj"],
    ):
        weights = {name: source[f"{name}.weight"].bfloat16().float() for name in names}
        own = [generate_gparam(weight.amin(), weight.amax()) for weight in weights.values()]
        assert len({float(scale) for scale in own}) == len(names), "each would have another one by itself"
        shared = torch.cat(own).amin().reshape(1)
        for name, weight in weights.items():
            groups = weight.unflatten(-1, (-1, 16))
            scale, _ = calculate_qparams(groups.amin(-1), groups.amax(-1), scheme.weights, global_scale=shared)
            held = {"weight": weight, "weight_scale": scale, "weight_global_scale": shared}
            for part, wanted in compressor.compress(held, scheme).items():
                assert torch.equal(made[f"{name}.{part}"].view(torch.uint8), wanted.view(torch.uint8)), (name, part)


@pytest.mark.parametrize("scheme", BACKENDS["compressed-tensors"].SCHEMES)
def test_a_part_of_what_servers_load_as_one_is_not_kept_alone(scheme: str, components: Path) -> None:
    for keep, told in (("*.k_proj", "self_attn.k_proj"), ("*.up_proj", "mlp.up_proj")):
        with pytest.raises(WorkerError) as refused:
            answer(
                cases.question_of(cases.Case("qwen", "compressed-tensors", scheme, keep=(keep,)), components / "qwen")
            )
        assert f"keep: leaves model.layers.0.{told} as it is" in refused.value.what
    whole = cases.Case("qwen", "compressed-tensors", scheme, keep=("*.up_proj", "*.gate_proj", "*.o_proj"))
    assert answer(cases.question_of(whole, components / "qwen")).kept["model.layers.0.mlp.up_proj"] == "keep"
