"""The metrics against numbers worked out by hand, and against the libraries that define them."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import CannotHereError, RecipeError
from pipeline.tasks import TASKS
from pipeline.tasks.answers import Facts
from pipeline.tasks.images import embedders, labels, lpips
from pipeline.tasks.images.pixels import IDENTICAL_PSNR
from pipeline.tasks.images.require import Require
from pipeline.tasks.metrics import MetricInput, Pair, Sizes
from pipeline.validate.limits import limits_of

METRICS = TASKS["text-to-image"].metrics


def _noise(seed: int, side: int = 32) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def _flat(level: int, side: int = 32) -> Image.Image:
    return Image.new("RGB", (side, side), (level,) * 3)


def _pair(reference: Image.Image, candidate: Image.Image, label: str | None = None, index: int = 0, **how: Any) -> Pair:
    return Pair(index, "a digit", label, 0, reference, candidate, **how)


def _value(metric: str, *pairs: Pair, **given: Any) -> float:
    return METRICS[metric].measure(MetricInput(pairs, **given)).value


def test_everything_that_is_measured_can_be_required_but_what_a_busy_machine_changes() -> None:
    assert [*Require.model_fields, *Require.strays] == list(METRICS)


def test_every_metric_that_compares_two_pictures_bounds_its_worst_one_unless_the_recipe_does() -> None:
    without = {"clip_score", "label_accuracy", "size_ratio", *Require.strays}  # which look at one side at a time
    assert {name for name, metric in METRICS.items() if metric.tail is None} == without
    for name, require, bound in [
        ("psnr", {"min": 25}, 12.5),
        ("psnr", {"min": 25, "worst": 15}, 15),
        ("ssim", {"min": 0.96}, 0.8),  # half the decibels of a distance are its root
        ("lpips", {"max": 0.09}, 0.3),
        ("clip_score", {"drop": {"max": 1, "worst": 5}}, 5),
    ]:
        *_, limit = limits_of({name: require}, METRICS)[name]
        assert limit.of.startswith("worst")
        assert limit.bound == pytest.approx(bound)


def test_who_judges_bounds_nothing() -> None:
    bounds = {"drop": {"max": 1}}
    named = {**bounds, "model": "acme/clip", "revision": "0" * 40}
    assert limits_of({"clip_score": named}, METRICS) == limits_of({"clip_score": bounds}, METRICS)


def test_psnr_is_the_formula() -> None:
    black, grey = Image.new("RGB", (16, 16), (0, 0, 0)), Image.new("RGB", (16, 16), (10, 0, 20))
    mean_square = (10**2 + 0**2 + 20**2) / 3
    assert _value("psnr", _pair(black, grey)) == pytest.approx(10 * math.log10(255**2 / mean_square), rel=1e-6)


def test_identical_pictures_have_a_finite_psnr_and_so_has_the_mean() -> None:
    same, other = _pair(_noise(1), _noise(1)), _pair(_noise(1), _noise(2))
    assert _value("psnr", same) == IDENTICAL_PSNR == 60
    assert _value("psnr", same, other) == pytest.approx((60 + _value("psnr", other)) / 2)


def test_what_is_beyond_seeing_does_not_lift_a_mean() -> None:
    picture = Image.new("RGB", (32, 32), (7, 7, 7))
    almost = picture.copy()
    almost.putpixel((5, 5), (7, 8, 7))  # 83 dB
    assert _value("psnr", _pair(picture, almost)) == IDENTICAL_PSNR


def test_ssim_of_two_flat_pictures_is_its_luminance_term() -> None:
    # Without variance the structure term is 1 and what is left is (2ab + c) / (a² + b² + c), c = (0.01 * 255)².
    a, b, c = 100.0, 150.0, (0.01 * 255) ** 2
    assert _value("ssim", _pair(_flat(100), _flat(150))) == pytest.approx(
        (2 * a * b + c) / (a * a + b * b + c), rel=1e-9
    )


def test_ssim_is_one_for_identity_and_near_zero_for_noise() -> None:
    assert _value("ssim", _pair(_noise(1), _noise(1))) == pytest.approx(1)
    assert abs(_value("ssim", _pair(_noise(1), _noise(2)))) < 0.1


def test_ssim_needs_pictures_as_large_as_its_window() -> None:
    small = MetricInput((_pair(_noise(1, side=10), _noise(2, side=10)),))
    assert METRICS["ssim"].lacks(small) == "pictures of 11 pixels or more a side, not 10"
    assert METRICS["ssim"].lacks(MetricInput((_pair(_noise(1, side=11), _noise(2, side=11)),))) == ""


def test_ms_ssim_of_two_flat_pictures_is_the_luminance_of_the_coarsest_scale() -> None:
    # Contrast and structure are 1 on every scale; luminance counts on the last one alone, to the power of its weight.
    a, b, c = 100.0, 150.0, (0.01 * 255) ** 2
    expected = ((2 * a * b + c) / (a * a + b * b + c)) ** 0.1333
    assert _value("ms_ssim", _pair(_flat(100, 176), _flat(150, 176))) == pytest.approx(expected, abs=1e-3)
    assert _value("ms_ssim", _pair(_noise(1, 176), _noise(1, 176))) == pytest.approx(1, abs=1e-6)


def test_ms_ssim_needs_just_the_pixels_that_its_library_asks_for() -> None:
    small = MetricInput((_pair(_noise(1, side=175), _noise(2, side=175)),))
    assert METRICS["ms_ssim"].lacks(small) == "pictures of 176 pixels or more a side, not 175"
    with pytest.raises(ValueError, match="must be larger than 160"):
        METRICS["ms_ssim"].measure(small)
    assert not METRICS["ms_ssim"].lacks(MetricInput((_pair(_flat(1, 176), _flat(1, 176)),)))


@pytest.fixture
def no_lpips() -> Iterator[None]:
    lpips._open.cache_clear()
    yield
    lpips._open.cache_clear()


@pytest.mark.usefixtures("no_lpips")
def test_lpips_without_torchvision_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(CannotHereError, match="lpips needs torchvision, which cannot be used here"):
        _value("lpips", _pair(_noise(1), _noise(2)))


@pytest.mark.usefixtures("no_lpips")
@pytest.mark.parametrize("other", [None, b"another network"])
def test_lpips_takes_no_weights_but_those_that_everybody_measures_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: bytes | None
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    if other:
        (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
        (tmp_path / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth").write_bytes(other)
    with pytest.raises(CannotHereError, match=r"alexnet-owt-7be5be79\.pth: lpips needs the weights of AlexNet"):
        _value("lpips", _pair(_noise(1), _noise(2)))


def _latents(folder: Path, *both: Any) -> tuple[Path, Path]:
    paths = folder / "own.npy", folder / "other.npy"
    for path, values in zip(paths, both, strict=True):
        np.save(path, np.array(values, dtype=np.float32))
    return paths


@pytest.mark.parametrize(
    ("own", "other", "expected"),
    [
        ([[3, 0], [0, 4]], [[0, 4], [0, 3]], 12 / 25),
        ([[1, 2]], [[2, 4]], 1.0),  # longer, but the same way
        ([[1, 2]], [[-1, -2]], -1.0),
        ([[1, 2]], [[1, np.nan]], 0.0),
        ([[1, 2]], [[0, 0]], 0.0),
        ([[1, 2]], [[1, 2, 3]], 0.0),
    ],
)
def test_latent_cosine_is_the_formula_and_zero_where_nothing_can_be_compared(
    tmp_path: Path, own: Any, other: Any, expected: float
) -> None:
    pair = _pair(_noise(1), _noise(1), besides={"latents": _latents(tmp_path, own, other)})
    assert _value("latent_cosine", pair) == pytest.approx(expected, abs=1e-12)


def test_latents_are_compared_only_where_every_pair_has_them(tmp_path: Path) -> None:
    seen, unseen = (
        _pair(_noise(1), _noise(1), besides={"latents": _latents(tmp_path, [1], [1])}),
        _pair(_noise(1), _noise(1)),
    )
    assert not METRICS["latent_cosine"].lacks(MetricInput((seen,)))
    assert METRICS["latent_cosine"].lacks(MetricInput((seen, unseen))) == "pipelines that let their latents be seen"


def test_size_ratio_divides_result_by_source() -> None:
    assert _value("size_ratio", sizes=Sizes(source=400, result=100)) == 0.25
    assert METRICS["size_ratio"].lacks(MetricInput(()))


def _facts(*seconds: float, load: float = 1.0, memory: int = 1, gpu: int | None = None, device: str = "cpu") -> Facts:
    return Facts(
        device=device,
        how="as its users load it",
        load_seconds=load,
        seconds_per_call=seconds,
        peak_memory_bytes=memory,
        peak_device_bytes=gpu,
        versions={},
    )


def test_what_was_measured_once_a_side_stands_beside_the_sources() -> None:
    given = MetricInput((), facts=(_facts(load=2, memory=100, gpu=40), _facts(load=3, memory=50, gpu=20)))
    measured = {name: METRICS[name].measure(given) for name in ("load_time", "peak_memory", "peak_device_memory")}
    assert {name: (one.value, one.reference) for name, one in measured.items()} == {
        "load_time": (3, 2),
        "peak_memory": (50, 100),
        "peak_device_memory": (20, 40),
    }


def test_memory_of_a_gpu_that_is_not_there_is_a_matter_of_the_machine() -> None:
    with pytest.raises(CannotHereError, match="a machine with a GPU"):
        _value("peak_device_memory", facts=(_facts(), _facts()))


def test_latency_leaves_the_first_call_out() -> None:
    pairs = (_pair(_noise(1), _noise(1)),) * 3
    measured = METRICS["latency"].measure(MetricInput(pairs, facts=(_facts(90, 2, 3), _facts(80, 1, 4))))
    assert (measured.value, measured.reference) == (2.5, 2.5)
    assert measured.readings == ()  # no sample: prompts say nothing of what else the machine did


def test_a_single_call_has_no_latency() -> None:
    given = MetricInput((_pair(_noise(1), _noise(1)),), facts=(_facts(1), _facts(1)))
    assert METRICS["latency"].lacks(given) == "a second answer, for the first one warms up"


@pytest.mark.parametrize("cost", ["load_time", "latency", "peak_memory", "peak_device_memory"])
@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"device": "cuda H200"}, "cuda H200"),
        ({"processor": "Xeon", "cores": 2, "threads": 2}, "cpu on Xeon (2 cores, 2 threads)"),
    ],
)
def test_costs_on_two_machines_are_not_compared(cost: str, other: dict[str, Any], words: str) -> None:
    pairs = (_pair(_noise(1), _noise(1)),) * 2
    assert METRICS[cost].lacks(MetricInput(pairs)) == "what both sides measured of themselves"
    unlike = MetricInput(pairs, facts=(_facts(1, 1), _facts(1, 1).model_copy(update=other)))
    assert METRICS[cost].lacks(unlike) == f"both sides on one machine, not on cpu and {words}"


@pytest.fixture(scope="module")
def clip_model(tmp_path_factory: pytest.TempPathFactory, clip_tokenizer: Any) -> Path:
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

    torch.manual_seed(0)
    layers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    tokens = {"vocab_size": len(clip_tokenizer), "max_position_embeddings": 16, "eos_token_id": 1, "bos_token_id": 0}
    config = CLIPConfig(
        text_config=layers | tokens, vision_config=layers | {"image_size": 32, "patch_size": 8}, projection_dim=16
    )
    shapes = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    folder = tmp_path_factory.mktemp("clip")
    CLIPModel(config).save_pretrained(folder)
    CLIPProcessor(shapes, clip_tokenizer).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("prompt", ["seven", "a thin slanted red two"])  # the second is cut: 19 tokens, 16 fit
def test_clip_score_is_that_of_torchmetrics(clip_model: Path, prompt: str) -> None:
    import torch
    from torchmetrics.multimodal.clip_score import CLIPScore
    from transformers import CLIPModel, CLIPProcessor

    class Tensors(CLIPModel):  # type: ignore[misc]
        """CLIP as torchmetrics 1.9 knows it: features are tensors, as they were before transformers 5."""

        def get_text_features(self, ids: Any, mask: Any) -> Any:
            return super().get_text_features(ids, mask).pooler_output

        def get_image_features(self, pixels: Any) -> Any:
            return super().get_image_features(pixels).pooler_output

    class Cutting(CLIPProcessor):  # type: ignore[misc]
        """Cuts a prompt and keeps its end mark, which CLIP pools; torchmetrics' own cut loses it."""

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            cut = {"truncation": True, "max_length": 16} if "text" in kwargs else {}
            return super().__call__(*args, **kwargs, **cut)

    oracle = CLIPScore(lambda: (Tensors.from_pretrained(clip_model), Cutting.from_pretrained(clip_model)))
    scores = []
    for seed in range(6):
        pixels = torch.from_numpy(np.array(_noise(seed))).permute(2, 0, 1)
        pair = Pair(0, prompt, None, 0, _noise(9), _noise(seed))
        scores.append(_value("clip_score", pair, judges={"clip_score": clip_model}))
        oracle.reset()
        assert scores[-1] == pytest.approx(float(oracle(pixels, prompt).detach()), abs=1e-3), scores
    assert max(scores) > 0.1


def test_clip_score_reads_both_sides(clip_model: Path) -> None:
    judges = {"clip_score": clip_model}
    measured = METRICS["clip_score"].measure(MetricInput((_pair(_noise(1), _noise(2)),), judges=judges))
    own, other = (_value("clip_score", _pair(picture, picture), judges=judges) for picture in (_noise(1), _noise(2)))
    assert (measured.reference, measured.value) == (own, other)
    assert own != other


def _cosine(one: Any, other: Any) -> float:
    return float((one * other).sum() / one.norm() / other.norm())


def test_clip_similarity_is_the_cosine_of_what_the_model_says(clip_model: Path) -> None:
    from transformers import CLIPModel, CLIPProcessor

    model, processor = CLIPModel.from_pretrained(clip_model).eval(), CLIPProcessor.from_pretrained(clip_model)
    both = processor(images=[_noise(1), _noise(2)], return_tensors="pt")
    expected = _cosine(*model.get_image_features(**both).pooler_output.detach())
    measured = _value("clip_similarity", _pair(_noise(1), _noise(2)), judges={"clip_similarity": clip_model})
    assert measured == pytest.approx(expected, abs=1e-6)
    assert measured < 0.9999


def test_clip_similarity_takes_the_model_of_clip_score_where_it_names_none(clip_model: Path, tmp_path: Path) -> None:
    pairs = (_pair(_noise(1), _noise(2)),)
    borrowed, own = ({name: clip_model} for name in ("clip_score", "clip_similarity"))
    assert _value("clip_similarity", *pairs, judges=borrowed) == _value("clip_similarity", *pairs, judges=own)
    with pytest.raises(RecipeError, match="There is no CLIP model"):
        _value("clip_similarity", *pairs, judges=borrowed | {"clip_similarity": tmp_path})
    assert METRICS["clip_similarity"].lacks(MetricInput(pairs)) == "a CLIP model, named under clip_similarity.model"


@pytest.fixture(scope="module")
def dino_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=8)
    folder = tmp_path_factory.mktemp("dino")
    Dinov2Model(config).save_pretrained(folder)
    shapes = BitImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    shapes.save_pretrained(folder)
    return folder


def test_dino_similarity_is_the_cosine_of_the_class_tokens(dino_model: Path) -> None:
    from transformers import BitImageProcessor, Dinov2Model

    model, processor = Dinov2Model.from_pretrained(dino_model).eval(), BitImageProcessor.from_pretrained(dino_model)
    both = processor([_noise(1), _noise(2)], return_tensors="pt")
    expected = _cosine(*model(**both).pooler_output.detach())
    judges = {"dino_similarity": dino_model}
    measured = _value("dino_similarity", _pair(_noise(1), _noise(2)), judges=judges)
    assert measured == pytest.approx(expected, abs=1e-6)
    assert measured < 0.9999
    assert METRICS["dino_similarity"].lacks(MetricInput(())) == "a DINOv2 model, named under dino_similarity.model"


def test_the_same_picture_is_found_the_same_whatever_it_stands_beside(clip_model: Path, dino_model: Path) -> None:
    judges = {"clip_score": clip_model, "dino_similarity": dino_model}
    given = MetricInput(tuple(_pair(_noise(seed), _noise(seed)) for seed in range(5)), judges=judges)
    for name in ("clip_similarity", "dino_similarity"):
        assert [one.value for one in METRICS[name].measure(given).readings if one] == pytest.approx(
            [1.0] * 5, abs=1e-12
        )
    scores = METRICS["clip_score"].measure(given)
    assert all(one and one.value == one.reference for one in scores.readings)


def test_a_model_is_opened_once_for_all_that_it_judges(clip_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(clip_model, tmp_path / "clip")
    pair, judges = _pair(_noise(1), _noise(2)), {"clip_score": folder}
    first = _value("clip_score", pair, judges=judges)
    shutil.rmtree(folder)
    assert _value("clip_score", pair, judges=judges) == first
    assert _value("clip_similarity", _pair(_noise(3), _noise(4)), judges=judges) < 1


def _folder(tmp_path: Path, model: Path, kind: str) -> Path:
    """Return a copy of a model with something wrong with it."""
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(model, tmp_path / kind)
    weights = folder / "model.safetensors"
    if kind == "pickle":
        weights.rename(folder / "pytorch_model.bin")
    if kind == "cut":
        weights.write_bytes(weights.read_bytes()[:100])
    if kind == "incomplete":
        tensors = load_file(weights)
        del tensors["visual_projection.weight"]
        save_file(tensors, weights, {"format": "pt"})
    if kind == "unprocessed":
        (folder / "processor_config.json").unlink()
    return folder


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("pickle", "model.safetensors"),
        ("cut", "deserializing header"),
        ("incomplete", r"its weights lack visual_projection\.weight"),
        ("unprocessed", "image processor"),
    ],
)
def test_a_model_that_is_not_whole_judges_nothing(tmp_path: Path, clip_model: Path, kind: str, says: str) -> None:
    folder = _folder(tmp_path, clip_model, kind)
    with pytest.raises(RecipeError, match=rf"(?s){kind}: There is no CLIP model.*{says}.*under validation\.require"):
        embedders.open_clip(folder)


def test_a_model_of_another_kind_judges_nothing(tmp_path: Path, clip_model: Path, dino_model: Path) -> None:
    with pytest.raises(RecipeError, match=r"no CLIP model .* its config\.json says that it is a dinov2 model"):
        embedders.open_clip(dino_model)
    with pytest.raises(RecipeError, match=r"no DINOv2 model .* its config\.json says that it is a clip model"):
        embedders.open_dino(clip_model)
    with pytest.raises(RecipeError, match="There is no CLIP model"):
        embedders.open_clip(tmp_path)


def test_label_accuracy_counts_labels_read_right_on_both_sides(classifier: Path) -> None:
    pairs = (_pair(_flat(255), _flat(255), "light"), _pair(_flat(255), _flat(0), "light"))
    measured = METRICS["label_accuracy"].measure(MetricInput(pairs, judges={"label_accuracy": classifier}))
    assert (measured.reference, measured.value) == (1.0, 0.5)


def test_a_picture_gets_the_label_that_the_pipeline_of_transformers_gives_it(tmp_path: Path) -> None:
    import torch
    from transformers import AutoImageProcessor, ViTConfig, ViTForImageClassification, ViTImageProcessor, pipeline

    torch.manual_seed(0)
    names = {index: f"thing {index}" for index in range(5)}
    layers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = ViTConfig(**layers, image_size=32, patch_size=8, initializer_range=0.5, id2label=names)
    ViTForImageClassification(config).save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    shapes = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    oracle = pipeline("image-classification", model=str(tmp_path), image_processor=shapes, top_k=1)
    pictures = [*(_noise(seed) for seed in range(12)), *(_flat(level, side=40) for level in (0, 90, 255))]
    expected = [oracle(picture)[0]["label"] for picture in pictures]
    assert [labels.open_classifier(tmp_path).read(picture) for picture in pictures] == expected
    assert len(set(expected)) > 1


@pytest.mark.parametrize(("label", "meant"), [("Light", "; did you mean 'light'\\?"), ("7", "")])
def test_a_label_that_the_classifier_does_not_know_is_a_mistake(classifier: Path, label: str, meant: str) -> None:
    with pytest.raises(RecipeError, match=rf"knows no label '{label}'{meant}.* id2label of its config\.json"):
        _value("label_accuracy", _pair(_flat(255), _flat(0), label), judges={"label_accuracy": classifier})


def test_label_accuracy_needs_a_classifier_and_a_label_of_every_prompt(classifier: Path) -> None:
    lacks, pairs = METRICS["label_accuracy"].lacks, (_pair(_flat(0), _flat(0), "dark"), _pair(_flat(0), _flat(0)))
    assert lacks(MetricInput(pairs)) == "an image classification model, named under label_accuracy.model"
    assert lacks(MetricInput(pairs, judges={"label_accuracy": classifier})) == "a label of every prompt"


def test_a_classifier_is_loaded_whole_or_not_at_all(tmp_path: Path, classifier: Path, clip_model: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(classifier, tmp_path / "headless")
    tensors = load_file(folder / "model.safetensors")
    del tensors["classifier.1.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(RecipeError, match=r"no image classification model .* its weights lack classifier\.1\.weight"):
        labels.open_classifier(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(RecipeError, match=r"no image classification model .*model\.safetensors"):
        labels.open_classifier(folder)
    with pytest.raises(RecipeError, match=r"no image classification model .* its weights lack classifier"):
        labels.open_classifier(clip_model)


def test_a_model_of_a_library_that_is_not_here_is_a_mistake(tmp_path: Path, classifier: Path) -> None:
    shutil.copy(classifier / "model.safetensors", tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "timm_wrapper", "architecture": "resnet18"}')
    with pytest.raises(RecipeError, match="There is no image classification model that can be loaded"):
        labels.open_classifier(tmp_path)
