"""The metrics against numbers worked out by hand, and against the libraries that define them."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import CannotHereError, RecipeError
from pipeline.quality import METRICS, Sizes, digits
from pipeline.quality.metrics.clip import clip_scorer
from pipeline.quality.metrics import IDENTICAL_PSNR, Given, Pair


def _noise(seed: int, side: int = 32) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def _pair(reference: Image.Image, candidate: Image.Image, label: str | None = None) -> Pair:
    return Pair("a digit", label, 0, reference, candidate)


def _value(metric: str, *pairs: Pair, **given: Any) -> float:
    return METRICS[metric].measure(Given(pairs, **given)).value


def test_psnr_is_the_formula() -> None:
    black, grey = Image.new("RGB", (16, 16), (0, 0, 0)), Image.new("RGB", (16, 16), (10, 0, 20))
    mean_square = (10**2 + 0**2 + 20**2) / 3
    assert _value("psnr", _pair(black, grey)) == pytest.approx(10 * math.log10(255**2 / mean_square), rel=1e-6)


def test_identical_pictures_have_a_finite_psnr_and_so_has_the_mean() -> None:
    same, other = _pair(_noise(1), _noise(1)), _pair(_noise(1), _noise(2))
    assert _value("psnr", same) == IDENTICAL_PSNR == 100
    assert _value("psnr", same, other) == pytest.approx((100 + _value("psnr", other)) / 2)


def test_psnr_of_the_least_difference_lies_below_that_of_identity() -> None:
    picture = Image.new("RGB", (32, 32), (7, 7, 7))
    almost = picture.copy()
    almost.putpixel((5, 5), (7, 8, 7))
    expected = 10 * math.log10(255**2 * 32 * 32 * 3)
    assert _value("psnr", _pair(picture, almost)) == pytest.approx(expected, rel=1e-6)
    assert expected < IDENTICAL_PSNR


def test_ssim_of_two_flat_pictures_is_its_luminance_term() -> None:
    # Without variance the structure term is 1 and what is left is (2ab + c) / (a² + b² + c), c = (0.01 * 255)².
    a, b, c = 100.0, 150.0, (0.01 * 255) ** 2
    pair = _pair(Image.new("RGB", (32, 32), (100,) * 3), Image.new("RGB", (32, 32), (150,) * 3))
    assert _value("ssim", pair) == pytest.approx((2 * a * b + c) / (a * a + b * b + c), rel=1e-9)


def test_ssim_is_one_for_identity_and_near_zero_for_noise() -> None:
    assert _value("ssim", _pair(_noise(1), _noise(1))) == pytest.approx(1)
    assert abs(_value("ssim", _pair(_noise(1), _noise(2)))) < 0.1


def test_ssim_needs_pictures_as_large_as_its_window() -> None:
    small = Given((_pair(_noise(1, side=10), _noise(2, side=10)),))
    assert METRICS["ssim"].lacks(small) == "pictures of 11 pixels or more a side, not 10"
    assert METRICS["ssim"].lacks(Given((_pair(_noise(1, side=11), _noise(2, side=11)),))) == ""


def test_size_ratio_divides_result_by_source() -> None:
    assert _value("size_ratio", sizes=Sizes(source=400, result=100)) == 0.25
    assert METRICS["size_ratio"].lacks(Given(()))


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
    score, scores = clip_scorer(clip_model), []
    for seed in range(6):
        pixels = torch.from_numpy(np.array(_noise(seed))).permute(2, 0, 1)
        scores.append(score(prompt, _noise(seed)))
        oracle.reset()
        assert scores[-1] == pytest.approx(float(oracle(pixels, prompt).detach()), abs=1e-3), scores
    assert max(scores) > 0.1


def test_clip_score_reads_both_sides(clip_model: Path) -> None:
    pair = _pair(_noise(1), _noise(2))
    measured = METRICS["clip_score"].measure(Given((pair,), clip_model=clip_model))
    score = clip_scorer(clip_model)
    assert (measured.reference, measured.value) == (score("a digit", _noise(1)), score("a digit", _noise(2)))


def test_a_folder_without_a_clip_model_is_a_mistake_of_the_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"clip_score names cannot be loaded.*clip_score\.model"):
        clip_scorer(tmp_path)


def _painted(scan: Any, ink: tuple[int, int, int]) -> Image.Image:
    """Draw a scan as the digits recipe does: ink on white paper, an eighth of margin on every side."""
    share = np.pad(np.kron(scan / 16, np.ones((3, 3))), 4)[..., None]
    return Image.fromarray((share * np.array(ink) + (1 - share) * 255).round().astype(np.uint8))


def test_the_reader_reads_scans_that_it_has_never_seen() -> None:
    from sklearn.datasets import load_digits

    scans = load_digits()
    held_out = np.arange(len(scans.target)) % 6 == 0
    inks = [(24, 24, 24), (214, 40, 40), (32, 84, 214)]
    pictures = [_painted(scan, inks[row % 3]) for row, scan in enumerate(scans.images[held_out])]
    right = np.mean(np.array(digits.read_digits(pictures)) == scans.target[held_out])
    assert right > 0.97
    assert digits._reader().shape_fit_ == (1797 - len(pictures), 64)


def test_label_accuracy_counts_labels_read_right_on_both_sides() -> None:
    from sklearn.datasets import load_digits

    scans = load_digits()
    seven, two = (_painted(scans.images[list(scans.target).index(digit)], (24, 24, 24)) for digit in (7, 2))
    pairs = (_pair(seven, seven, "7"), _pair(seven, two, "7"))
    measured = METRICS["label_accuracy"].measure(Given(pairs))
    assert (measured.reference, measured.value) == (1.0, 0.5)


def test_labels_that_are_no_digits_are_not_read() -> None:
    given = Given((_pair(_noise(1), _noise(2), "cat"),))
    assert METRICS["label_accuracy"].lacks(given) == "a digit as label of every prompt"


def test_a_missing_reader_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    digits._reader.cache_clear()
    with pytest.raises(CannotHereError, match=r"quantpress\[digits\]"):
        digits.read_digits([_noise(1)])
