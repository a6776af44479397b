"""An encoder is published as a graph of ONNX, judged by onnxruntime, verified and made again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import transformers

from pipeline.backends import SCHEMES
from pipeline.files import human_size
from pipeline.recipe import Vocabulary, read_quantization
from tests.desk import Desk


@pytest.mark.nightly
def test_an_encoder_is_published_as_a_graph_which_loads_and_is_made_again(desk: Desk, embedder: Path) -> None:
    targets = {"one": {"model": {"backend": "onnx", "scheme": "q8", "dtype": "float32"}}}
    require = {"cosine_similarity": {"min": 0.99}}
    written = desk.recipe_of_model(embedder, "feature-extraction", targets, require=require)
    done = desk.publish("run", written)
    assert done.code == 0, done.err
    release = Path(desk.shelf.api.snapshot_download("alice/tiny-bert-one", local_dir=desk.folder / "release"))
    files = {path.relative_to(release).as_posix() for path in release.rglob("*") if path.is_file()}
    assert {"onnx/model_quantized.onnx", "config.json", "vocab.txt", "1_Pooling/config.json"} <= files
    assert not [name for name in files if name.endswith(".safetensors")]
    assert (release / "config.json").read_bytes() == (embedder / "config.json").read_bytes()
    report = json.loads((release / "publish" / "report.json").read_text())
    assert sum(layer["quantized"] for layer in report["layers"]) == 12
    assert report["candidate"]["how"] == "onnxruntime on the CPU"
    card = (release / "README.md").read_text()
    assert "onnxruntime.InferenceSession" in card
    assert "is loaded by onnxruntime on the CPU" in card
    assert "pip install transformers onnxruntime" in card
    assert "transformers.js" not in card
    size = (release / "onnx" / "model_quantized.onnx").stat().st_size
    assert f"| {human_size(size)} |" in card
    (snippet,) = report["uses"]
    assert snippet["verdict"] == "PASS"
    assert snippet["text"] in card
    assert snippet["numbers"]["peak_memory"] < report["candidate"]["peak_memory_bytes"] / 2  # which has torch
    held = desk.publish("--json", "can-i-run", "alice/tiny-bert-one")
    assert held.lines[-1]["mode"]["memory_bytes"] == snippet["numbers"]["peak_memory"]
    verified = desk.publish("verify", "alice/tiny-bert-one", "--rebuild", "--recipe", written, "--json")
    assert verified.code == 0, verified.err
    states = {check["name"]: check["state"] for check in verified.lines[-1]["result"]["checks"]}
    assert states["loads"] == states["rebuild"] == "passed"
    apart = desk.folder / "somebody.onnx"
    apart.write_bytes((release / "onnx" / "model_quantized.onnx").read_bytes())
    asked = ("--reference", embedder, "--recipe", written, "--dtype", "float32", "--out", "out")
    done = desk.publish("validate", apart, *asked)
    assert done.code == 0, done.err
    assert "PASS" in done.out.splitlines()[0]
    found = json.loads((desk.folder / "out" / "report.json").read_text())["metrics"]
    assert found["cosine_similarity"]["value"] == report["metrics"]["cosine_similarity"]["value"]


@pytest.mark.nightly
def test_ranges_of_the_first_questions_are_read_off_again_from_what_is_published(desk: Desk, embedder: Path) -> None:
    words = {"backend": "onnx", "scheme": "int8-static", "samples": 3}
    written = desk.recipe_of_model(
        embedder, "feature-extraction", {"one": {"model": words}}, require={"cosine_similarity": {"min": 0.9}}
    )
    done = desk.publish("run", written)
    assert done.code == 0, done.err
    verified = desk.publish("verify", "alice/tiny-bert-one", "--rebuild", "--recipe", written, "--json")
    assert verified.code == 0, verified.err
    states = {check["name"]: check["state"] for check in verified.lines[-1]["result"]["checks"]}
    assert states["loads"] == states["rebuild"] == "passed"


def test_without_a_recipe_nothing_tells_ranges(desk: Desk, embedder: Path) -> None:
    done = desk.publish(
        "quantize", embedder, "--out", "out", "--backend", "onnx", "--scheme", "int8-static", "--dtype", "float32"
    )
    assert done.code == 2, done.err
    assert "onnx int8-static measures activations while the source answers prompts, and there are none" in done.err
    assert "Write a recipe with `publish init`" in done.err


def test_a_graph_is_of_float32_unless_anything_is_said() -> None:
    assert read_quantization("backend: onnx\nscheme: q8", Vocabulary(SCHEMES)).dtype == "float32"
    assert read_quantization("backend: torchao\nscheme: int8-weight-only", Vocabulary(SCHEMES)).dtype == "bfloat16"


def test_a_graph_is_asked_for_in_float32_and_another_dtype_is_told_at_its_line(desk: Desk, embedder: Path) -> None:
    model = {"backend": "onnx", "scheme": "q8"}
    targets = {"one": {"model": model}, "two": {"model": model | {"dtype": "float16", "block_size": 48}}}
    written = desk.recipe_of_model(embedder, "feature-extraction", targets, require={"cosine_similarity": {"min": 0.9}})
    done = desk.publish("check", written)
    assert done.code == 2
    assert "unknown dtype 'float16'; did you mean 'float32'?" in done.err + done.out
    assert "expected 16, 32, 64, 128 or 256, found 48" in done.err + done.out
    assert (done.err + done.out).count(written.name) == 2  # nothing of the target that says no dtype


@pytest.mark.nightly
def test_a_user_is_told_the_module_and_what_to_do(desk: Desk, tmp_path: Path) -> None:
    sizes = {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.LongformerConfig(
        **sizes, intermediate_size=64, max_position_embeddings=64, attention_window=[4]
    )
    transformers.LongformerModel(config).save_pretrained(tmp_path / "source")
    asked = ("--backend", "onnx", "--scheme", "q8", "--dtype", "float32", "--out", "made")
    done = desk.publish("quantize", tmp_path / "source", *asked)
    assert done.code != 0
    said = " ".join(done.err.split())
    assert "stopped at encoder.layer.0.attention.self (LongformerSelfAttention) of model.onnx: Could not guard" in said
    assert "Its code is `query = self._chunk(" in said
    assert "Quantize this component with another backend, which needs no graph, or leave it out." in said
    assert "arg0_1" not in said, "a dump of the whole program"
