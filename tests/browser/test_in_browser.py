"""A page loads a model from the embedded Hub by transformers.js, and what it answers is held to what is required."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import HfApi

from localhub.server import running
from pipeline.backends import SCHEMES
from pipeline.backends.onnx.schemes import quantize
from pipeline.errors import CannotHereError
from pipeline.events import silent
from pipeline.tasks.answers import Request
from pipeline.validate import Prompt, Side, generate
from pipeline.validate.browser.asking import TriedInBrowser, ask_in_browser, run_page, settings_of
from pipeline.validate.browser.judging import judge_in_browser
from pipeline.validate.report import CompatibilityCheck
from tests.browser.conftest import WORDS, halved

REPO = "alice/tiny-bert-onnx"
REQUIRE = {"cosine_similarity": {"min": 0.99}, "rank_correlation": {"min": 0.9}, "overlap_at_10": {"min": 0.9}}


@pytest.fixture(scope="module")
def native(embedder: Path, asked: Request, tmp_path_factory: pytest.TempPathFactory) -> Side:
    """What the source answers."""
    folder = tmp_path_factory.mktemp("native")
    return Side(generate(embedder, asked, folder), folder)


@pytest.fixture(scope="module")
def hub(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("hub")) as endpoint:
        api = HfApi(endpoint=endpoint, token=False)
        api.create_repo(REPO)
        api.upload_folder(repo_id=REPO, folder_path=published)
        yield endpoint


def judged(tried: TriedInBrowser, folder: Path, native: Side) -> CompatibilityCheck:
    prompts = [Prompt(text=word) for word in WORDS]
    return judge_in_browser(tried, native.with_answers(tried.given, folder), (native, native), prompts, REQUIRE)


def damaged(published: Path, to: Path, content: bytes) -> Path:
    shutil.copytree(published, to)
    (to / "onnx" / "model.onnx").write_bytes(content)
    return to


def test_a_page_answers_from_the_hub_as_the_source_does(
    hub: str, published: Path, scripts: Path, asked: Request, native: Side, tmp_path: Path
) -> None:
    tried = ask_in_browser(published, REPO, asked.only(4, 1), scripts, tmp_path, silent, hub)
    assert tried.failure == ""
    assert len(tried.given) == tried.numbers["questions"] == 4
    for given, own in zip(tried.given, native.answers.given, strict=False):
        one, other = np.load(tmp_path / given.file), np.load(native.folder / own.file)
        assert np.abs(one - other).max() < 1e-5
    assert tried.numbers["threads"] == 1
    assert tried.numbers["peak_memory_bytes"] > 50e6
    use = judged(tried, tmp_path, native)
    assert (use.kind, use.verdict, use.settings) == ("browser", "PASS", {"dtype": "fp32"})
    assert "cosine_similarity 1 in the mean, 1 outside of a browser" in use.text


@pytest.mark.parametrize(
    ("scheme", "dtype"),
    [
        ("q4", "q4"),
        pytest.param("q8", "q8", marks=pytest.mark.nightly),
        pytest.param("int8", "q8", marks=pytest.mark.nightly),
        pytest.param("fp16", "fp16", marks=pytest.mark.nightly),
    ],
)
def test_a_graph_whose_vocabulary_is_quantized_loads_in_a_page(
    scheme: str, dtype: str, published: Path, scripts: Path, asked: Request, tmp_path: Path
) -> None:
    folder = shutil.copytree(published, tmp_path / "model")
    plain = Path(shutil.move(folder / "onnx" / "model.onnx", tmp_path))
    made = SCHEMES["onnx"][scheme]
    quantize(scheme, made.options().model_dump(mode="json"), plain, folder / "onnx" / f"model{made.suffix}.onnx")
    tried = ask_in_browser(folder, REPO, asked.only(2, 1), scripts, tmp_path / "out", silent)
    assert (tried.failure, tried.settings["dtype"], len(tried.given)) == ("", dtype, 2)


def test_a_damaged_graph_fails_with_the_answer_that_is_another(
    published: Path, scripts: Path, asked: Request, native: Side, tmp_path: Path
) -> None:
    folder = damaged(published, tmp_path / "model", halved(published / "onnx" / "model.onnx"))
    use = judged(
        ask_in_browser(folder, REPO, asked.only(2, 1), scripts, tmp_path / "out", silent), tmp_path / "out", native
    )
    assert use.verdict == "FAIL"
    assert "answers otherwise: cosine_similarity is" in use.text
    assert "in every embedding is required" in use.text


@pytest.mark.nightly
def test_a_graph_that_is_cut_off_fails_with_what_the_page_says(
    published: Path, scripts: Path, asked: Request, native: Side, tmp_path: Path
) -> None:
    folder = damaged(published, tmp_path / "model", (published / "onnx" / "model.onnx").read_bytes()[:-1000])
    tried = ask_in_browser(folder, REPO, asked.only(1, 1), scripts, tmp_path / "out", silent)
    use = judged(tried, tmp_path / "out", native)
    assert use.verdict == "FAIL"
    assert "does not answer with it" in use.text
    assert "protobuf" in use.text.lower()


def test_a_page_sees_no_network(published: Path, scripts: Path, asked: Request, tmp_path: Path) -> None:
    page = """<pre id="answer"></pre><script type="module">
    const out = await fetch("https://example.org/").then(() => true, () => false)
    if (out) throw new Error("let out")
    document.querySelector("#answer").textContent = "kept in"
    </script>"""
    assert run_page(page, published, REPO, asked, scripts, tmp_path).failure == ""


def test_a_page_that_raises_is_told(published: Path, scripts: Path, asked: Request, tmp_path: Path) -> None:
    page = '<pre id="answer"></pre><script type="module">throw new Error("no such model")</script>'
    assert "no such model" in run_page(page, published, REPO, asked, scripts, tmp_path).failure


@pytest.mark.parametrize(
    ("files", "settings"),
    [
        (["model.onnx"], {"dtype": "fp32"}),
        (["model_quantized.onnx"], {"dtype": "q8"}),
        (["model_q4.onnx", "model_q4.onnx_data"], {"dtype": "q4", "use_external_data_format": True}),
        (["model_q8.onnx"], {"dtype": "fp32", "model_file_name": "model_q8"}),
        (["encoder_model_q4.onnx", "decoder_model_merged_q4.onnx"], {"dtype": "q4"}),
        (
            ["encoder_model.onnx", "decoder_model_merged_quantized.onnx"],
            {"dtype": {"encoder_model": "fp32", "decoder_model_merged": "q8"}},
        ),
    ],
)
def test_what_a_page_gives_follows_from_the_names_of_the_graphs(
    tmp_path: Path, files: list[str], settings: dict[str, object]
) -> None:
    (tmp_path / "onnx").mkdir()
    for name in files:
        (tmp_path / "onnx" / name).touch()
    assert settings_of(tmp_path) == settings


def test_a_machine_without_a_browser_says_what_to_install(
    published: Path, asked: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotHereError, match="there is no browser here") as told:
        ask_in_browser(published, REPO, asked, tmp_path, tmp_path, silent)
    assert "apt-get install chromium" in told.value.remedy
