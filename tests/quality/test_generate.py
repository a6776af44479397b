"""A pipeline answers in a fresh process, and only a finished answer counts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.errors import CannotHereError, GenerationError, RecipeError
from pipeline.events import Event
from pipeline.files import sha256_file
from pipeline.tasks.answers import Answers, Request
from pipeline.validate import generate
from pipeline.worker.session import last_words


def test_importing_quality_does_not_import_torch() -> None:
    code = "import sys, pipeline.validate; print({*sys.modules} & {'torch', 'diffusers', 'scipy', 'transformers'})"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "set()\n"


def test_answers_are_marked_by_a_file_that_says_the_same(drawn: tuple[Answers, Path]) -> None:
    answers, out = drawn
    assert Answers.model_validate_json((out / "answers.json").read_bytes()) == answers
    assert [picture.file for picture in answers.given] == ["000-3.png", "001-3.png"]
    assert all(sha256_file(out / picture.file) == picture.sha256 for picture in answers.given)
    assert not (out / "generation.log").exists()


def test_the_facts_are_measured(drawn: tuple[Answers, Path]) -> None:
    answers, _ = drawn
    assert answers.how == "as published: from_pretrained"
    assert len(answers.seconds_per_call) == 2
    assert min(answers.seconds_per_call) > 0
    assert 200e6 < answers.peak_memory_bytes < 4e9  # torch and diffusers alone take some 400 MB
    assert {"python", "torch", "diffusers", "transformers"} <= answers.versions.keys()


def test_memory_is_the_childs_own_even_below_a_big_parent() -> None:
    # ru_maxrss would tell of the parent's 300 MB: it survives fork and exec.
    code = "from pipeline.worker.limits import peak_memory; print(peak_memory())"
    hoard = bytearray(b"x") * 300_000_000
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert 5e6 < int(said) < len(hoard) / 2


@pytest.mark.nightly
def test_the_same_seeds_give_the_same_pictures(
    source: Path, request_of_two: Request, drawn: tuple[Answers, Path], tmp_path: Path
) -> None:
    heard: list[Event] = []
    again = generate(source, request_of_two, tmp_path / "again", heard.append)
    assert again.given == drawn[0].given
    assert [(event.kind, event.stage, event.done, event.total, event.unit) for event in heard] == [
        ("progress", "validate", 1, 2, "pictures"),
        ("progress", "validate", 2, 2, "pictures"),
    ]


def test_a_picture_is_what_a_consumer_gets(source: Path, request_of_two: Request, drawn: tuple[Answers, Path]) -> None:
    import torch
    from diffusers import DiffusionPipeline

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pipe = DiffusionPipeline.from_pretrained(source, dtype=torch.bfloat16)
    noise = torch.Generator("cpu").manual_seed(3)
    expected = pipe(prompt="a thin two", generator=noise, **request_of_two.call).images[0]
    torch.set_num_threads(threads)
    with Image.open(drawn[1] / "001-3.png") as image:
        assert image.format == "PNG"
        assert image.tobytes() == expected.tobytes()


def test_a_pipeline_that_does_not_load_is_one_clear_error(
    variant: Any, request_of_two: Request, tmp_path: Path
) -> None:
    broken = variant()
    (broken / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(GenerationError, match=r"OSError: .*no file named diffusion_pytorch_model") as caught:
        generate(broken, request_of_two, tmp_path / "out")
    assert caught.value.exit_code == 6
    assert "\n" not in str(caught.value)
    assert "Traceback" in (tmp_path / "out" / "generation.log").read_text()
    assert not (tmp_path / "out" / "answers.json").exists()


def test_an_argument_that_the_pipeline_does_not_take_is_the_recipes_mistake(
    source: Path, request_of_two: Request, tmp_path: Path
) -> None:
    asked = request_of_two.model_copy(update={"call": {**request_of_two.call, "num_inference_step": 1}})
    with pytest.raises(RecipeError) as caught:
        generate(source, asked, tmp_path / "out")
    assert str(caught.value) == (
        "validation.call: FluxPipeline takes no 'num_inference_step'; did you mean 'num_inference_steps'? "
        "Correct that key, or the task of the recipe."
    )
    assert not (tmp_path / "out" / "answers.json").exists()


def test_an_interrupted_generation_leaves_no_answers_and_no_process(
    source: Path, request_of_two: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    children: list[subprocess.Popen[str]] = []

    class Remembered(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            children.append(self)

    def interrupt(event: Event) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", Remembered)
    out = tmp_path / "out"
    out.mkdir()
    (out / "answers.json").write_text("{}")  # of an earlier run; it must not speak for this one
    with pytest.raises(KeyboardInterrupt):
        generate(source, request_of_two, out, interrupt)
    assert not (out / "answers.json").exists()
    assert [child.returncode for child in children] == [-9]


def test_the_child_leaves_when_its_parent_is_gone() -> None:
    command = [sys.executable, "-m", "pipeline.validate.consumer"]
    done = subprocess.run(command, input="", text=True, check=False, capture_output=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, "")


CRASHES = {
    "segfault": ("kill -SEGV $$", GenerationError, "killed by SIGSEGV"),
    "out of memory": ("kill -KILL $$", CannotHereError, "killed by SIGKILL"),
    "missing library": (
        "echo 'ImportError: Using bitsandbytes requires it' >&2; exit 1",
        CannotHereError,
        "requires it",
    ),
    "no memory on the GPU": (
        "echo 'torch.OutOfMemoryError: CUDA out of memory.' >&2; exit 1",
        CannotHereError,
        "CUDA out",
    ),
    "silent exit": ("exit 3", GenerationError, "exit code 3"),
    "never answers": ("read job; echo '{\"answered\": [1, 2]}'; exit 0", GenerationError, "exit code 0"),
}


@pytest.mark.parametrize("crash", CRASHES)
def test_a_crash_is_named(crash: str, request_of_two: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, error, words = CRASHES[crash]
    _pose_as_python(script, tmp_path, monkeypatch)
    with pytest.raises(error, match=words):
        generate(tmp_path, request_of_two, tmp_path / "out")
    assert not (tmp_path / "out" / "answers.json").exists()


def test_answers_of_a_process_that_then_crashed_do_not_count(
    drawn: tuple[Answers, Path], request_of_two: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "message").write_text(json.dumps(drawn[0].model_dump(mode="json")) + "\n")
    _pose_as_python(f"read job; cat {tmp_path}/message; kill -SEGV $$", tmp_path, monkeypatch)
    with pytest.raises(GenerationError, match="SIGSEGV"):
        generate(tmp_path, request_of_two, tmp_path / "out")


def test_the_child_is_offline_and_knows_no_token(
    request_of_two: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    _pose_as_python('echo "offline=$HF_HUB_OFFLINE token=$HF_TOKEN." >&2; exit 1', tmp_path, monkeypatch)
    with pytest.raises(GenerationError, match=r"offline=1 token=\."):
        generate(tmp_path, request_of_two, tmp_path / "out")


def _pose_as_python(script: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = folder / "python"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))


def test_the_last_words_are_those_of_the_last_exception() -> None:
    log = (
        "Loading weights: 100%\n"
        "Traceback (most recent call last):\n  File 'a.py', line 1, in f\n    g()\nKeyError: 'x'\n\n"
        "The above exception was the direct cause of the following exception:\n\n"
        "Traceback (most recent call last):\n  File 'b.py', line 2, in g\n    h(\n    ^^\n"
        "ValueError: The model is broken.\nPlease mend it.\n"
    )
    assert last_words(log) == "ValueError: The model is broken."
    assert last_words("a warning\n  Segmentation fault\n\n") == "Segmentation fault"
    assert last_words("") == ""
