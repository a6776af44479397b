"""An encoder as a graph of ONNX: what the exporter and onnxruntime themselves make of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import transformers
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.matmul_nbits_quantizer import (
    DefaultWeightOnlyQuantConfig,
    DefaultWeightOnlyQuantizer,
    MatMulNBitsQuantizer,
)

from pipeline.backends import BACKENDS
from pipeline.backends.artifact import BuildRequest, Calibration
from pipeline.backends.onnx.graphs import export, write
from pipeline.backends.onnx.kinds import kind_of
from pipeline.backends.onnx.runtime import GraphLinear, opened
from pipeline.backends.onnx.tables import in_blocks
from pipeline.backends.onnx.worker import make, quantize_graphs
from pipeline.backends.protocol import Calibrated
from pipeline.worker.child import WorkerError

SCHEMES = BACKENDS["onnx"].SCHEMES
TOKENS = {
    "input_ids": torch.arange(15).reshape(3, 5),
    "attention_mask": torch.tensor([[1] * 5, [1] * 5, [1, 1, 1, 0, 0]]),
}
LINEARS = [
    f"encoder.layer.{layer}.{name}"
    for layer in (0, 1)
    for name in (
        *(f"attention.self.{one}" for one in ("query", "key", "value")),
        *("attention.output.dense", "intermediate.dense", "output.dense"),
    )
]
LEAST = {
    "fp16": 60.0,
    "int8": 25.0,
    "int8-static": 25.0,
    "q8": 30.0,
    "q4": 12.0,
}  # decibels of the states; their own noise is that of the schemes
TEXTS = [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 12], [95, 5, 95, 5, 95, 5]]  # by which ranges are read off


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT whose vocabulary is taller than wide."""
    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=96,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=32,
        initializer_range=0.2,
    )
    folder = tmp_path_factory.mktemp("encoder") / "bert"
    model = transformers.BertModel(config)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:  # the exporter keeps tensors that are equal once
            torch.nn.init.normal_(parameter, float("LayerNorm.weight" in name), 0.1)
    model.save_pretrained(folder)
    return folder


def ask(folder: Path, request: dict[str, Any]) -> None:
    """Have a model embed texts."""
    model = opened(transformers.AutoModel, folder)
    for text in request["texts"]:
        model(input_ids=torch.tensor([text]))


def asked(
    source: Path, out: Path, scheme: str, texts: list[list[int]] = TEXTS, kept: tuple[str, ...] = ()
) -> BuildRequest:
    """Ask for a graph of a scheme, with its options at their defaults."""
    options = SCHEMES[scheme].options().model_dump(mode="json")
    return BuildRequest(
        backend="onnx",
        library="transformers",
        class_name="BertModel",
        source=source,
        out=out,
        dtype="float32",
        quantization=BACKENDS["onnx"].configuration(scheme, options) | {"modules_to_not_convert": [*kept]},
        calibration=Calibration(by=f"{__name__}:ask", request={"texts": texts}),
    )


def build(source: Path, out: Path, scheme: str) -> Path:
    """Make a graph of a scheme beside the source's config; its export takes seconds."""
    out.mkdir()
    make(asked(source, out, scheme))
    return configured(source, out)


def build_of(graph: Path, source: Path, out: Path, scheme: str, **further: Any) -> Path:
    """Make the same of what was exported before."""
    (folder := out / ".graphs" / "onnx").mkdir(parents=True)
    path = Path(shutil.copy(graph, folder))
    quantize_graphs(asked(source, out, scheme, **further), folder.parent, [path])
    shutil.rmtree(folder.parent)
    return configured(source, out)


def configured(source: Path, out: Path) -> Path:
    (out / "config.json").write_bytes((source / "config.json").read_bytes())
    return out


def changed(graph: Path, to: Path, name: str, place: tuple[int, ...], value: float) -> Path:
    """Write a graph of which one number of one weight is another."""
    model = onnx.load(graph)
    (tensor,) = (one for one in model.graph.initializer if one.name == name)
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[place] = value
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, name))
    onnx.save(model, to)
    return to


@pytest.fixture(scope="module")
def plain(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graph that all schemes are made of."""
    (path,) = export(transformers.BertModel.from_pretrained(source), tmp_path_factory.mktemp("plain"))
    return path


@pytest.fixture(scope="module")
def static(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the scheme that asks the model before, made whole."""
    return build(source, tmp_path_factory.mktemp("static") / "made", "int8-static")


@pytest.fixture(scope="module", params=sorted(SCHEMES))
def made(
    request: pytest.FixtureRequest, source: Path, plain: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """A folder of each scheme."""
    scheme = request.param
    if issubclass(SCHEMES[scheme].options, Calibrated):
        return scheme, request.getfixturevalue("static")
    return scheme, build_of(plain, source, tmp_path_factory.mktemp("made") / scheme, scheme)


def decibels(own: torch.Tensor, other: torch.Tensor) -> float:
    return float(10 * torch.log10(own.square().sum() / (own - other).square().sum()))


def test_what_is_opened_answers_as_the_class_does_layer_by_layer(source: Path, made: tuple[str, Path]) -> None:
    scheme, folder = made
    own, model = transformers.AutoModel.from_pretrained(source), opened(transformers.AutoModel, folder)
    with torch.no_grad():
        assert decibels(own(**TOKENS).last_hidden_state, model(**TOKENS).last_hidden_state) > LEAST[scheme]
    linears = {name: module for name, module in model.named_modules() if isinstance(module, GraphLinear)}
    assert len(linears) == 12, "six matrices a layer; the pooler is in no graph of an encoder"
    noise = torch.randn(32, 64)
    for name, module in linears.items():
        if module.in_features == 64:
            answer = torch.nn.functional.linear(noise, own.get_submodule(name).weight)
            assert decibels(answer, module(noise)) > LEAST[scheme], name
    assert torch.equal(model.encoder.layer[1].output.LayerNorm.weight, own.encoder.layer[1].output.LayerNorm.weight)
    assert model.pooler.dense.weight.is_meta


def test_the_bytes_tell_nothing_of_where_they_were_made(made: tuple[str, Path]) -> None:
    scheme, folder = made
    (path,) = folder.glob("onnx/*.onnx")
    assert path.name == f"model{SCHEMES[scheme].suffix}.onnx"
    assert b"site-packages" not in path.read_bytes()
    assert str(Path.cwd()).encode() not in path.read_bytes()


@pytest.mark.nightly
def test_the_source_again_gives_the_same_bytes(source: Path, made: tuple[str, Path], tmp_path: Path) -> None:
    scheme, folder = made
    again = build(source, tmp_path / "again", scheme)
    (path,) = folder.glob("onnx/*.onnx")
    assert path.read_bytes() == (again / "onnx" / path.name).read_bytes()
    assert sorted(one.name for one in again.rglob("*")) == sorted(["onnx", path.name, "config.json"])


def test_a_scheme_is_what_onnxruntime_makes_of_the_same_graph(
    plain: Path, made: tuple[str, Path], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    from onnxruntime.quantization import quantize_dynamic
    from onnxruntime.transformers.float16 import convert_tensor_float_to_float16

    scheme, folder = made
    if scheme == "int8-static":
        wanted = request.getfixturevalue("calibrated_by_onnxruntime")
    elif scheme == "int8":
        tables = [node.name for node in onnx.load(plain).graph.node if node.op_type == "Gather"]
        theirs = tmp_path / "theirs.onnx"
        quantize_dynamic(plain, theirs, per_channel=True, reduce_range=True, nodes_to_exclude=tables)
        wanted = onnx.load(theirs)
    elif scheme == "fp16":
        wanted = onnx.load(plain)
        for one in wanted.graph.initializer:
            if len(one.dims) > 1:
                one.CopyFrom(convert_tensor_float_to_float16(one))
    else:
        how = DefaultWeightOnlyQuantConfig(32, False, 4, bits=8 if scheme == "q8" else 4)
        quantizer = MatMulNBitsQuantizer(onnx.load(plain), algo_config=how)
        quantizer.process()
        wanted = quantizer.model.model
    ours = {
        one.name: one for one in onnx.load(folder / "onnx" / f"model{SCHEMES[scheme].suffix}.onnx").graph.initializer
    }
    matrices = [one for one in wanted.graph.initializer if ".layer." in one.name]
    assert any("uery.weight" in one.name for one in matrices)
    for one in matrices:
        assert np.array_equal(*map(onnx.numpy_helper.to_array, (ours[one.name], one))), one.name
        codes = onnx.numpy_helper.to_array(one)
        if codes.dtype == np.int8:
            assert 2 * 255 * np.abs(codes.astype(int)).max() < 1 << 15, (
                "processors without VNNI add two products at once"
            )


class Texts(CalibrationDataReader):  # type: ignore[misc]
    """The texts as onnxruntime's calibration reads them."""

    def __init__(self) -> None:
        self.left = [np.array([text]) for text in TEXTS]

    def get_next(self) -> dict[str, Any] | None:
        if not self.left:
            return None
        tokens = self.left.pop()
        usual = {"attention_mask": np.ones_like(tokens), "token_type_ids": np.zeros_like(tokens)}
        return {"input_ids": tokens, **usual}


@pytest.fixture(scope="module")
def calibrated_by_onnxruntime(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What onnxruntime's own static quantization makes of the graph with the same texts."""
    matrices = [node.name for node in onnx.load(plain).graph.node if node.name.endswith("/MatMul")]
    quantize_static(
        plain,
        theirs := tmp_path_factory.mktemp("static") / "theirs.onnx",
        Texts(),
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        nodes_to_quantize=matrices,
        extra_options={"MatMulConstBOnly": True, "OpTypesToExcludeOutputQuantization": ["MatMul"]},
    )
    return onnx.load(theirs)


def test_ranges_are_those_of_onnxruntime_and_at_most_a_64th_wider(static: Path, calibrated_by_onnxruntime: Any) -> None:
    theirs = scales(calibrated_by_onnxruntime)
    made = onnx.load(static / "onnx" / "model_quantized.onnx")
    ours = scales(made)
    assert ours.keys() == theirs.keys()
    assert len(ours) == 8, "four inputs of matrices a layer, three reading the same"
    for name, scale in ours.items():
        assert 1 - 1e-6 <= scale / theirs[name] <= 1 + 1 / 64, name
    weights = {one.name: one.dims for one in made.graph.initializer if one.name.endswith(".weight_scale")}
    assert weights["encoder.layer.1.intermediate.dense.weight_scale"] == [128], "one an output"
    assert sum(node.op_type == "DequantizeLinear" for node in made.graph.node) == 8 + 12, "tables have none"


def scales(model: Any) -> dict[str, float]:
    """Return the scales of what matrices are given."""
    given = {node.input[1] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    tensors = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    return {name: float(tensors[name]) for name in given}


def test_ranges_follow_the_questions(plain: Path, source: Path, static: Path, tmp_path: Path) -> None:
    whole, fewer = (
        build_of(plain, source, tmp_path / name, "int8-static", texts=texts) / "onnx" / "model_quantized.onnx"
        for name, texts in (("whole", TEXTS), ("fewer", TEXTS[:1]))
    )
    assert whole.read_bytes() == (static / "onnx" / "model_quantized.onnx").read_bytes()
    assert whole.read_bytes() != fewer.read_bytes()


def test_where_nothing_is_asked_no_range_is_made_up(plain: Path, source: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match=r"No question has model\.onnx compute") as caught:
        build_of(plain, source, tmp_path / "made", "int8-static", texts=[])
    assert caught.value.kind == "recipe"


def test_without_questions_no_range_is_made_up_either(plain: Path, source: Path, tmp_path: Path) -> None:
    request = asked(source, tmp_path, "int8-static").model_copy(update={"calibration": None})
    with pytest.raises(WorkerError, match="told by questions, and there are none here"):
        quantize_graphs(request, tmp_path, [plain])


def test_where_all_is_kept_nothing_is_made(plain: Path, source: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkerError) as refusal:
        build_of(plain, source, tmp_path / "made", "q8", kept=(".*",))
    assert refusal.value.what == "No matrix of BertModel is left to be quantized."


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_graph_that_computes_no_number_is_named(plain: Path, source: Path, tmp_path: Path, value: float) -> None:
    graph = changed(plain, tmp_path / "model.onnx", "encoder.layer.1.attention.output.LayerNorm.bias", (5,), value)
    with pytest.raises(WorkerError, match=r"model\.onnx computes NaN or infinity"):
        build_of(graph, source, tmp_path / "made", "int8-static")


def test_float16_is_where_weights_are_and_nowhere_else(plain: Path, source: Path, tmp_path: Path) -> None:
    kept = ("encoder.layer.1.output.dense",)
    made = build_of(plain, source, tmp_path / "halves", "fp16", kept=kept)
    graph = onnx.load(made / "onnx" / "model_fp16.onnx").graph
    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    assert {one.type.tensor_type.elem_type for one in graph.output} == {single}
    kinds = {one.name: one.data_type for one in graph.initializer}
    halves = {name for name, kind in kinds.items() if kind == half}
    matrices = {f"{name}.weight" for name in LINEARS if name not in kept}
    assert halves == matrices | {"embeddings.word_embeddings.weight"}
    norms = [node for node in graph.node if node.op_type == "LayerNormalization"]
    assert len(norms) == 5
    assert not [name for node in norms for name in node.input if name.endswith("_float16")]


def test_a_weight_of_float16_is_read_by_what_stays_in_float32_and_places_stay_whole() -> None:
    from pipeline.backends.onnx.halves import in_halves

    table = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    constants = {"table": table, "places": np.arange(3), "weight": table[:4]}
    nodes = [
        onnx.helper.make_node("Gather", ["table", "places"], ["rows"], "/table/Gather"),
        onnx.helper.make_node("MatMul", ["rows", "weight"], ["once"], "/linear/MatMul"),
        onnx.helper.make_node("MatMul", ["once", "weight"], ["twice"], "again"),
    ]
    twice = onnx.helper.make_tensor_value_info("twice", onnx.TensorProto.FLOAT, [3, 4])
    tensors = [onnx.numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = onnx.helper.make_graph(nodes, "g", [], [twice], tensors)
    in_halves(graph, ["/table/Gather", "/linear/MatMul"])
    kinds = {one.name: onnx.numpy_helper.to_array(one).dtype for one in graph.initializer}
    assert kinds == {"table": np.float16, "places": np.int64, "weight": np.float16}
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {})
    assert found == pytest.approx(table[:3] @ table[:4] @ table[:4], abs=0.02)


def test_a_weight_beyond_float16_is_refused_by_its_name(plain: Path, source: Path, tmp_path: Path) -> None:
    graph = changed(plain, tmp_path / "model.onnx", "encoder.layer.1.output.dense.weight", (0, 0), 70000)
    with pytest.raises(WorkerError) as refusal:
        build_of(graph, source, tmp_path / "made", "fp16")
    assert refusal.value.what == "encoder.layer.1.output.dense.weight holds 70000, and float16 nothing beyond 65504."
    build_of(graph, source, tmp_path / "kept", "fp16", kept=("encoder.layer.1.output.dense",))


@pytest.mark.parametrize("shape", [(), (5,), (2, 3)])
@pytest.mark.parametrize("width", [64, 50])
@pytest.mark.parametrize(("bits", "symmetric"), [(8, False), (8, True), (4, False), (4, True)])
def test_rows_of_a_table_are_those_that_onnxruntime_multiplies_by(
    bits: int, symmetric: bool, width: int, shape: tuple[int, ...]
) -> None:
    table = np.random.default_rng(0).normal(size=(70, width)).astype(np.float32)
    table[3, :32] = 0
    how = DefaultWeightOnlyQuantConfig(16, symmetric, 0, bits=bits)
    read = graph_of("Gather", table, "table", onnx.TensorProto.INT64, [f"dim_{at}" for at in range(len(shape))])
    in_blocks(read.graph, read.graph.node[0], DefaultWeightOnlyQuantizer(how), bits)
    assert not {one.domain for one in read.graph.node} - {""}, "operators of onnxruntime alone are not in every runtime"
    multiplied = MatMulNBitsQuantizer(
        graph_of("MatMul", table.T.copy(), "x", onnx.TensorProto.FLOAT, ["n", width]), algo_config=how
    )
    multiplied.process()
    rows = answer(multiplied.model.model, np.eye(width, dtype=np.float32)).T
    ids = np.random.default_rng(1).integers(0, 70, shape)
    ids.flat[0] = 3
    np.testing.assert_allclose(answer(read, ids), rows[ids], atol=1e-6)
    steps = 15 if bits == 4 else 255
    assert np.abs(rows - table).max() <= (table.max() - table.min()) / steps


def graph_of(operator: str, weight: np.ndarray[Any, Any], name: str, kind: int, shape: list[Any]) -> Any:
    """Return a model of one operator with a weight."""
    inputs = ["weight", "given"] if operator == "Gather" else ["given", "weight"]
    node = onnx.helper.make_node(operator, inputs, ["answer"], f"/{name}/{operator}")
    given = onnx.helper.make_tensor_value_info("given", kind, shape)
    answer = onnx.helper.make_tensor_value_info("answer", onnx.TensorProto.FLOAT, None)
    graph = onnx.helper.make_graph([node], "g", [given], [answer], [onnx.numpy_helper.from_array(weight, "weight")])
    opsets = [onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid("com.microsoft", 1)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)


def answer(model: Any, given: Any) -> Any:
    """Return what onnxruntime answers by a model of one input."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"given": given})[0]


@pytest.mark.nightly
def test_weights_that_no_file_holds_lie_beside_it_and_the_graph_answers_the_same(source: Path, tmp_path: Path) -> None:
    model = transformers.BertModel.from_pretrained(source)
    (graph,) = kind_of(model).graphs(model.eval())
    path = write(graph, tmp_path / "onnx" / "model.onnx", largest=1000)
    assert (tmp_path / "onnx" / "model.onnx_data").stat().st_size > 100_000
    (tmp_path / "config.json").write_bytes((source / "config.json").read_bytes())
    assert path.stat().st_size < 200_000
    with torch.no_grad():
        answered = opened(transformers.AutoModel, tmp_path)(**TOKENS).last_hidden_state
        assert decibels(model(**TOKENS).last_hidden_state, answered) > 100
