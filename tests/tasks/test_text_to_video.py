"""Prompts in, videos out: nothing of a frame is lost on the way to its judge, and a release plays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.tasks.protocol import Given
from pipeline.tasks.text_to_video import beside, fault, read, save, unlike
from tests.desk import ONE, WORDS, Desk

CALL = {"height": 16, "width": 16, "num_frames": 5, "num_inference_steps": 1, "max_sequence_length": 16}


def test_frames_are_kept_as_they_are_and_lie_beneath_each_other(tmp_path: Path) -> None:
    levels = np.random.default_rng(3).integers(0, 256, (5, 8, 12, 3), dtype=np.uint8)
    levels[3] = levels[2]  # an animation could leave out what does not change
    save(Given(levels / 255), tmp_path / "video.png")
    assert (np.asarray(read(tmp_path / "video.png")) == levels.reshape(40, 12, 3)).all()


def test_the_middle_frame_is_shown(tmp_path: Path) -> None:
    for name, shade in (("one", 40), ("two", 200)):
        frames = np.zeros((5, 16, 16, 3))
        frames[2] = shade / 255
        save(Given(frames), tmp_path / f"{name}.png")
    beside(tmp_path / "one.png", tmp_path / "two.png", tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert (sheet[100, 100, 0], sheet[100, 400, 0]) == (40, 200)


def column(*shades: int, path: Path) -> Image.Image:
    """Frames of noise, and where there is a shade one of nothing else."""
    noise = np.random.default_rng(7).random((len(shades), 8, 8, 3))
    frames = [np.full((8, 8, 3), shade / 255) if shade else frame for shade, frame in zip(shades, noise, strict=True)]
    save(Given(np.stack(frames)), path)
    return read(path)


@pytest.mark.parametrize(
    ("shades", "own", "said"),
    [
        ((0, 0, 0), (0, 0, 0), ""),
        ((0, 9, 0), (0, 0, 0), "one flat colour in frame 2 of 3"),
        ((9, 0, 0), (5, 0, 0), ""),  # it fades in, as the source does
        ((9, 9, 9), (9, 9, 9), "one flat colour in frame 1 of 3"),
    ],
)
def test_a_frame_that_is_none_is_named_unless_it_is_the_sources(
    shades: tuple[int, ...], own: tuple[int, ...], said: str, tmp_path: Path
) -> None:
    both = [column(*each, path=tmp_path / f"{name}.png") for name, each in (("one", shades), ("own", own))]
    assert fault(*both) == said


def test_other_numbers_of_frames_are_told_as_such(tmp_path: Path) -> None:
    told = unlike(column(0, 0, path=tmp_path / "two.png"), column(0, 0, 0, path=tmp_path / "three.png"))
    assert told is not None
    assert told[0] == "The source drew 2 frames of (8, 8) pixels and the candidate 3 frames of (8, 8) pixels"
    assert "num_frames" in told[1]


@pytest.mark.nightly
def test_a_model_that_makes_pictures_is_told_before_anything_is_published(desk: Desk) -> None:
    path = desk.recipe(ONE, require={"psnr": {"min": 20}})
    written = json.loads(path.read_text()) | {"task": "text-to-video", "card": {"template": "text-to-video"}}
    path.write_text(json.dumps(written))
    done = desk.publish("run", path)
    assert "FluxPipeline makes images, and this task wants frames" in done.error


def wan(source: Path, folder: Path) -> Path:
    """A pipeline of Wan with the text encoder of another one."""
    import torch
    from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel
    from transformers import T5EncoderModel, T5TokenizerFast

    torch.manual_seed(0)
    encoder = T5EncoderModel.from_pretrained(source / "text_encoder_2", dtype=torch.bfloat16)
    pipe = WanPipeline(
        tokenizer=T5TokenizerFast.from_pretrained(source / "tokenizer_2"),
        text_encoder=encoder,
        vae=AutoencoderKLWan(base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1),
        transformer=WanTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=32,
            text_dim=64,
            freq_dim=64,
            ffn_dim=64,
            num_layers=1,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
    )
    pipe.to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.mark.nightly
def test_a_video_is_judged_frame_by_frame_and_its_snippet_plays_it(desk: Desk, source: Path) -> None:
    model = wan(source, desk.folder / "wan")
    path = desk.recipe(ONE, {"path": str(model)}, {"psnr": {"min": 20}, "ssim": {"min": 0.8}})
    (desk.folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": word}) + "\n" for word in WORDS[:8]))
    written = json.loads(path.read_text()) | {"task": "text-to-video", "card": {"template": "text-to-video"}}
    written["destination"]["name"] = "wan-{target}"
    written["validation"]["call"] = CALL
    path.write_text(json.dumps(written))
    done = desk.publish("run", path)
    assert done.code == 0, done.err
    release = Path(desk.shelf.api.snapshot_download("alice/wan-one", local_dir=desk.folder / "release"))
    assert json.loads((release / "publish" / "report.json").read_text())["verdict"] == "PASS"
    assert "export_to_gif(frames" in (release / "publish" / "usage.py").read_text()
    assert "pipeline_tag: text-to-video" in (release / "README.md").read_text()
    assert desk.publish("verify", "alice/wan-one").code == 0
    assert desk.publish("report", path, "--target", "one").code == 0
