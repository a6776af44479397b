"""Pictures in, pictures out: a question's files are pinned, asked of both sides, and published for whoever looks."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.files import sha256_file
from pipeline.plan.questions import questions_folder
from pipeline.recipe.prompts import Question
from pipeline.tasks.answers import Request
from pipeline.tasks.images.medium import read
from pipeline.validate.consumer import answer
from tests.desk import ONE, Desk
from tests.prompts.conftest import parquet, push

CALL = {"height": 16, "width": 16, "num_inference_steps": 2, "max_sequence_length": 16, "strength": 0.8}
FILES = {"image-to-image": ("image",), "inpainting": ("image", "mask_image")}


def recipe(desk: Desk, task: str, lines: list[dict[str, str]]) -> Path:
    path = desk.recipe(ONE)
    written = json.loads(path.read_text())
    written |= {"task": task, "card": {"template": task}}
    written["validation"]["call"] = CALL
    path.write_text(json.dumps(written))
    (desk.folder / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def pictures(desk: Desk) -> dict[str, str]:
    (desk.folder / "pictures").mkdir(exist_ok=True)
    noise = np.random.default_rng(7).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).save(desk.folder / "pictures" / "in.png")
    mask = np.zeros((16, 16), np.uint8)
    mask[4:12, 4:12] = 255
    Image.fromarray(mask).save(desk.folder / "pictures" / "mask.PNG")
    return {"image": "pictures/in.png", "mask_image": "pictures/mask.PNG"}


@pytest.mark.parametrize("task", FILES)
def test_a_pipeline_is_given_each_picture(source: Path, desk: Desk, task: str) -> None:
    given = pictures(desk)
    asked = {role: given[role] for role in FILES[task]}

    def drawn(**files: str) -> str:
        question = Question(prompt="seven", files={**asked, **files})
        call = {**CALL, "strength": 0.4}  # with more, both of two steps begin at noise
        request = Request(task=task, questions=(question,), folder=desk.folder, seeds=(3,), call=call, dtype="bfloat16")
        (out := desk.folder / f"drawn-{len(list(desk.folder.iterdir()))}").mkdir()
        return answer(source, request, out, lambda *_: None).given[0].sha256

    plain = drawn()
    assert plain == drawn()
    Image.new("RGB", (16, 16), (255, 0, 0)).save(desk.folder / "red.png")
    assert [role for role in asked if drawn(**{role: "red.png"}) == plain] == []


@pytest.mark.nightly
@pytest.mark.parametrize("task", FILES)
def test_a_picture_is_changed_by_both_sides_and_published_with_the_release(desk: Desk, task: str) -> None:
    given = {role: name for role, name in pictures(desk).items() if role in FILES[task]}
    path = recipe(desk, task, [{"prompt": "seven", **given}])
    done = desk.publish("run", path)
    assert done.code == 0, done.err
    release = Path(desk.shelf.api.snapshot_download("alice/tiny-one", local_dir=desk.folder / "release"))
    plan = json.loads((release / "publish" / "plan.json").read_text())
    pinned = {role: f"{sha256_file(desk.folder / name)}.png" for role, name in given.items()}
    assert plan["validation"]["prompts"] == [{"prompt": "seven", "label": None, "files": pinned}]
    assert {path.name for path in (release / "publish" / "questions").iterdir()} == set(pinned.values())
    usage = (release / "publish" / "usage.py").read_text()
    assert all(f'image=load_image(hf_hub_download("alice/tiny-one", "publish/questions/{name}"))' in usage
               for name in pinned.values())  # fmt: skip
    assert "pipeline_tag: text-to-image" in (release / "README.md").read_text()  # as its source's card says
    (desk.folder / "moved.png").write_bytes((desk.folder / given["image"]).read_bytes())
    recipe(desk, task, [{"prompt": "seven", **given, "image": "moved.png"}])
    planned = desk.publish("plan", path, "--json").lines[-1]
    assert planned["published_as"] == "v1", "the same picture under another name is the same question"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ({"prompt": "seven"}, "'image' must name a file beside the prompts"),
        ({"prompt": "seven", "image": "gone.png"}, "there is no file 'gone.png' beside the prompts"),
        ({"prompt": "seven", "imagee": "in.png"}, "unknown key 'imagee'; did you mean 'image'?"),
    ],
)
def test_a_question_without_its_picture_is_told(desk: Desk, line: dict[str, Any], told: str) -> None:
    done = desk.publish("check", recipe(desk, "image-to-image", [line]))
    assert done.code == 2
    assert told in done.out


def test_pictures_of_a_dataset_are_asked_with_the_prompts_beside_them(desk: Desk) -> None:
    picture = (desk.folder / pictures(desk)["image"]).read_bytes()
    kept = [{"bytes": picture, "path": "in.png"}]
    commit = push(desk.shelf, "alice/edits", {"data/train.parquet": parquet(instruction=["seven"], picture=kept)})
    path = recipe(desk, "image-to-image", [])
    written = json.loads(path.read_text())
    written["validation"]["prompts"] = {
        "dataset": "alice/edits",
        "revision": commit,
        "split": "train",
        "column": "instruction",
        "files": {"image": "picture"},
    }
    path.write_text(json.dumps(written))
    engine = desk.engine(path)
    (prompt,) = engine.prompts.prompts
    assert prompt.files == {"image": f"{sha256(picture).hexdigest()}.png"}
    folder = questions_folder(engine.prompts, engine.store)
    assert folder is not None
    assert (folder / prompt.files["image"]).read_bytes() == picture


def test_a_file_that_is_no_picture_is_told_by_the_plan(desk: Desk) -> None:
    (desk.folder / "in.png").write_text("hello")
    done = desk.publish("plan", recipe(desk, "image-to-image", [{"prompt": "seven", "image": "in.png"}]))
    assert done.code == 2
    assert (
        f"{desk.folder / 'in.png'}: The file that is asked with 'seven' cannot be opened: cannot identify" in done.err
    )


def test_a_photograph_is_upright_as_its_users_see_it(tmp_path: Path) -> None:
    from diffusers.utils import load_image

    turned = Image.Exif()
    turned[0x0112] = 6  # the camera lay on its side
    Image.new("RGB", (8, 16)).save(tmp_path / "in.jpg", exif=turned)
    assert read(tmp_path / "in.jpg").size == load_image(str(tmp_path / "in.jpg")).size == (16, 8)


def test_two_names_of_the_same_bytes_are_one_file(desk: Desk) -> None:
    first = pictures(desk)["image"]
    (desk.folder / "twin.png").write_bytes((desk.folder / first).read_bytes())
    lines = [{"prompt": "seven", "image": first}, {"prompt": "nine", "image": "twin.png"}]
    done = desk.publish("plan", recipe(desk, "image-to-image", lines), "--json")
    assert done.code == 0, done.err
    asked = done.lines[-1]["plan"]["validation"]["prompts"]
    assert asked[0]["files"] == asked[1]["files"] == {"image": f"{sha256_file(desk.folder / first)}.png"}
    moved, _ = desk.engine(recipe(desk, "image-to-image", [{**line, "image": "twin.png"} for line in lines])).plan(
        "one"
    )
    assert moved.digest == done.lines[-1]["digest"], "the same picture under another name is the same question"
