"""Graphs as onnxruntime's quantizers write them, and what goes wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.lint import lint
from pipeline.lint.contents import contents_of
from pipeline.lint.formats import recognised
from pipeline.lint.pass_over import Tally, parts_held, pieces
from pipeline.source.layout import Folder

LAYERS = 3


def matrices() -> dict[str, Any]:
    chance = np.random.default_rng(3)
    return {f"w{number}": (0.05 * chance.standard_normal((96, 128))).astype(np.float32) for number in range(LAYERS)}


def graph() -> Any:
    """A graph of products, each of its own input."""
    nodes = [
        helper.make_node("MatMul", [f"x{number}", f"w{number}"], [f"y{number}"], f"/layers/{number}/MatMul")
        for number in range(LAYERS)
    ]
    info = helper.make_tensor_value_info
    inputs = [info(f"x{number}", TensorProto.FLOAT, ["n", 96]) for number in range(LAYERS)]
    outputs = [info(f"y{number}", TensorProto.FLOAT, ["n", 128]) for number in range(LAYERS)]
    constants = [numpy_helper.from_array(value, name) for name, value in matrices().items()]
    made = helper.make_graph(nodes, "products", inputs, outputs, constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def integers(folder: Path) -> Any:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    onnx.save(graph(), folder / "plain.onnx")
    quantize_dynamic(folder / "plain.onnx", folder / "model.onnx", weight_type=QuantType.QInt8)
    (folder / "plain.onnx").unlink()
    return onnx.load(folder / "model.onnx")


def blocks(folder: Path) -> Any:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(graph(), block_size=32, is_symmetric=True)
    quantizer.process()
    made = quantizer.model.model
    outside(folder, made)
    return made


def outside(folder: Path, made: Any) -> None:
    """Write a graph with its constants beside it."""
    for path in folder.iterdir():
        path.unlink()
    copied = onnx.ModelProto.FromString(made.SerializeToString())
    onnx.save(copied, folder / "model.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=0)


def constant(made: Any, ending: str) -> Any:
    return next(one for one in made.graph.initializer if one.name.endswith(ending))


@pytest.mark.parametrize(("make", "turned", "least"), [(integers, False, 30), (blocks, True, 17)])
def test_integers_of_onnxruntime_are_accepted_and_decoded(
    make: Callable[[Path], Any], turned: bool, least: float, tmp_path: Path
) -> None:
    make(tmp_path)
    found = lint(Folder(tmp_path))
    assert (found.everything, [model.title for model in found.models]) == ([], ["ONNX"])
    (subject,) = contents_of(Folder(tmp_path)).subjects
    weights = recognised(subject)[1].weights
    assert len(weights) == LAYERS
    for weight in weights:
        wanted = matrices()[f"w{weight.codes[1]}"]
        held = parts_held(subject, weight, Tally(weight))
        values = np.concatenate([part for _, part in pieces(subject, weight, held, 0)]).reshape(weight.shape)
        error = (values.T if turned else values) - wanted
        assert 10 * np.log10((wanted**2).sum() / (error**2).sum()) > least


def test_a_plain_graph_is_plain(tmp_path: Path) -> None:
    onnx.save(graph(), tmp_path / "model.onnx")
    (model,) = lint(Folder(tmp_path)).models
    assert (model.title, model.faults, model.tensors) == ("ONNX, not quantized", (), LAYERS)


def by_channel(folder: Path, made: Any) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    onnx.save(made, folder.parent / "plain.onnx")
    target = folder / "model.onnx"
    quantize_dynamic(folder.parent / "plain.onnx", target, per_channel=True, weight_type=QuantType.QInt8)


def by_block(bits: int) -> Callable[[Path, Any], None]:
    def write(folder: Path, made: Any) -> None:
        from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

        how = DefaultWeightOnlyQuantConfig(block_size=32, is_symmetric=False, bits=bits)
        quantizer = MatMulNBitsQuantizer(made, algo_config=how)
        quantizer.process()
        onnx.save(quantizer.model.model, folder / "model.onnx")

    return write


@pytest.mark.parametrize(("write", "least"), [(by_channel, 38), (by_block(4), 19), (by_block(8), 40)])
@pytest.mark.parametrize("called", ["layers.{}.weight", "onnx::MatMul_{}"])
def test_a_graph_is_compared_with_its_source(
    write: Callable[[Path, Any], None], least: float, called: str, tmp_path: Path
) -> None:
    """By the names of its constants, or else by those of its nodes; and a matrix lies in it the other way round."""
    from safetensors.numpy import save_file

    for name in ("graph", "base"):
        (tmp_path / name).mkdir()
    made = graph()
    for number, constant in enumerate(made.graph.initializer):
        constant.name = made.graph.node[number].input[1] = called.format(number)
    write(tmp_path / "graph", made)
    source = {f"layers.{number}.weight": value.T.copy() for number, value in enumerate(matrices().values())}
    source["layers.0.bias"] = source["layers.0.weight"][0]
    save_file(source, tmp_path / "base/model.safetensors")
    found = lint(Folder(tmp_path / "graph"), Folder(tmp_path / "base"))
    assert not found.everything
    assert [layer.sqnr > least for layer in found.models[0].layers] == [True] * LAYERS
    source["layers.0.weight"], source["layers.1.weight"] = source["layers.1.weight"], source["layers.0.weight"]
    del source["layers.2.weight"]
    save_file(source, tmp_path / "base/model.safetensors")
    rules = {fault.rule for fault in lint(Folder(tmp_path / "graph"), Folder(tmp_path / "base")).everything}
    assert "format-unclear" in rules
    assert rules & {"layer-degenerate", "layer-swapped"}


def lost_data(folder: Path, made: Any) -> None:
    (folder / "model.onnx_data").unlink()


def short_data(folder: Path, made: Any) -> None:
    path = folder / "model.onnx_data"
    path.write_bytes(path.read_bytes()[:-10])


def short_graph(folder: Path, made: Any) -> None:
    path = folder / "model.onnx"
    path.write_bytes(path.read_bytes()[:-10])


def elsewhere(folder: Path, made: Any) -> None:
    path = folder / "model.onnx"
    path.write_bytes(path.read_bytes().replace(b"model.onnx_data", b"../../onnx_data"))


def scale_of_nan(folder: Path, made: Any) -> None:
    one = constant(made, "_scales")
    values = numpy_helper.to_array(one).copy()
    values.reshape(-1)[0] = np.nan
    one.CopyFrom(numpy_helper.from_array(values, one.name))
    outside(folder, made)


def scale_of_another_shape(folder: Path, made: Any) -> None:
    one = constant(made, "_scales")
    one.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(one).reshape(-1)[:-1].copy(), one.name))
    outside(folder, made)


@pytest.mark.parametrize(
    ("spoil", "rule", "said"),
    [
        (lost_data, "file-missing", "Constants lie in model.onnx_data, which is not there."),
        (short_data, "file-broken", "of model.onnx_data, which has"),
        (short_graph, "file-broken", "This ONNX file cannot be trusted"),
        (elsewhere, "file-broken", "would leave its folder"),
        (scale_of_nan, "scale-damaged", "1 of 384 are NaN or infinite."),
        (scale_of_another_shape, "scale-wrong", "Its scale has the shape [383]"),
    ],
)
def test_a_spoiled_graph_is_refused(spoil: Callable[[Path, Any], None], rule: str, said: str, tmp_path: Path) -> None:
    spoil(tmp_path, blocks(tmp_path))
    found = lint(Folder(tmp_path))
    assert found.everything[0].rule == rule
    assert said in found.everything[0].text


def test_changed_bytes_of_a_graph_are_judged(tmp_path: Path) -> None:
    integers(tmp_path)
    path, chance = tmp_path / "model.onnx", np.random.default_rng(0)
    whole = path.read_bytes()
    for _ in range(60):
        spoiled = bytearray(whole)
        for place in chance.integers(0, len(whole) if chance.random() < 0.5 else 400, 3):
            spoiled[place] = chance.integers(256)
        path.write_bytes(spoiled)
        lint(Folder(tmp_path)).json()
