"""The sections that a consumer asks for say what the report knows, and where nothing was tried they say that."""

from __future__ import annotations

import ast
import re

from pipeline.card.metadata import SourceCard
from pipeline.files import ListedFile
from pipeline.plan.model import TargetPlan
from pipeline.plan.parts import PlannedLora
from pipeline.recipe import Compile
from pipeline.tasks.metrics import Sizes
from pipeline.validate import Report
from pipeline.validate.report import CompatibilityCheck
from tests.cards.conftest import LORA, asking, card
from tests.cards.test_metadata import DATASET

MOVED = CompatibilityCheck(
    kind="lora", name="acme/style-lora-v2", verdict="PASS", text="It moves pictures by 0.97 of it.", numbers={}
)
FASTER = CompatibilityCheck(
    kind="compile", name="transformer", verdict="FAIL", text="transformer raises `Unsupported` | 7.", numbers={}
)


def section(text: str, name: str) -> str:
    """Return what stands under a heading."""
    return re.split(r"\n## ", text.split(f"\n## {name}\n", 1)[1])[0]


def codes(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_a_card_answers_what_a_consumer_asks_in_this_order(plan: TargetPlan, report: Report) -> None:
    assert re.findall(r"^## (.*)$", card(plan, report), re.MULTILINE) == [
        "What it is",
        "What it needs",
        "Load it",
        "With a LoRA",
        "With torch.compile",
        "How good it is",
        "What was kept unquantized",
        "License",
        "How to verify it",
    ]


def test_what_was_not_tried_is_said_to_be_untried_in_one_line(plan: TargetPlan, report: Report) -> None:
    text = card(plan, report.model_copy(update={"uses": ()}))
    assert (
        section(text, "With a LoRA").strip() == "No LoRA was loaded onto this model, so that nothing is known of one."
    )
    assert section(text, "With torch.compile").strip() == "This model was not tried with `torch.compile`."


def test_what_was_tried_is_shown_with_its_code_its_verdict_and_its_numbers(plan: TargetPlan, report: Report) -> None:
    tried = asking(plan, compile=Compile(components=("transformer",), fullgraph=True)).model_copy(
        update={"loras": (LORA,)}
    )
    text = card(tried, report.model_copy(update={"uses": (MOVED, FASTER)}))
    lora, compiled = section(text, "With a LoRA"), section(text, "With torch.compile")
    assert "- **PASS**, acme/style-lora-v2: It moves pictures by 0.97 of it." in lora
    assert "- **FAIL**, `transformer`: transformer raises \\`Unsupported\\` \\| 7." in compiled
    assert codes(compiled) == ['pipe.transformer.compile(fullgraph=True, mode="default")\n']
    (code,) = codes(lora)
    assert 'weight_name="style-v2.safetensors"' in code
    assert f'revision="{LORA.revision}"' in code
    assert "[0.75]" in code


def test_what_a_small_device_made_of_it_stands_with_what_it_needs(plan: TargetPlan, report: Report) -> None:
    board = CompatibilityCheck(kind="device", name="small device", verdict="PASS", text="Limited to it.", numbers={})
    assert "- Small devices, **PASS**: Limited to it." in section(
        card(plan, report.model_copy(update={"uses": (board,)})), "What it needs"
    )
    assert "Small devices" not in card(plan, report)


def test_all_code_in_a_card_is_python(plan: TargetPlan, report: Report) -> None:
    tried = asking(plan, compile=Compile(components=("transformer",), mode="reduce-overhead"))
    local = PlannedLora(path="./it's/mine", file="a.safetensors", listed=LORA.listed, scale=1.0, how="loaded")
    found = codes(card(tried.model_copy(update={"loras": (LORA, local)}), report))
    assert len(found) == 3  # nobody has a LoRA of this disk
    for code in found:
        ast.parse(code)


def test_fused_loras_are_part_of_what_it_is(plan: TargetPlan, report: Report) -> None:
    fused = plan.model_copy(update={"loras": (LORA.model_copy(update={"how": "fused"}),)})
    said = section(card(fused, report), "What it is")
    assert "with LoRAs fused into it" in said
    assert (
        f"at scale 0.75: [acme/style-lora-v2](https://huggingface.co/acme/style-lora-v2) at commit `{'5' * 40}`" in said
    )


def test_prompts_of_a_dataset_are_named_with_their_commit(plan: TargetPlan, report: Report) -> None:
    said = section(card(asking(plan, dataset=DATASET), report), "How good it is")
    assert (
        f"[nateraw/parti-prompts](https://huggingface.co/datasets/nateraw/parti-prompts) at commit `{'a' * 40}`" in said
    )
    assert "split `train` with 1,632 rows, of which a sample was drawn with seed 0" in said


def test_limits_intervals_floor_and_size_of_the_sample_stand_beside_the_verdict(
    plan: TargetPlan, report: Report
) -> None:
    said = section(card(plan, report), "How good it is")
    row = next(line for line in said.splitlines() if line.startswith("| psnr |"))
    assert re.search(r"\d\d\.\d+ dB \(\d\d\.\d+ to \d\d\.\d+\)", row)
    assert "at least 30 dB: PASS" in row
    assert "48 pictures each: 24 prompts with 2 seeds" in said
    assert "95 % confidence" in said
    assert report.floor
    assert report.floor.varied in said
    assert re.search(r"psnr is known to within \d\.\d+ dB", said)


def test_each_component_shows_its_median_and_its_weakest_layer(plan: TargetPlan, report: Report) -> None:
    said = section(card(plan, report), "How good it is")
    for name in plan.components:
        found = [layer for layer in report.layers if layer.component == name and layer.quantized]
        least = min(found, key=lambda layer: layer.sqnr or 0.0)
        row = next(line for line in said.splitlines() if line.startswith(f"| `{name}` |"))
        assert f"{len(found)} layers" in row
        assert f"{least.sqnr:.1f} dB | `{least.name}`" in row


def test_the_files_of_a_dataset_are_named_with_their_columns(plan: TargetPlan, report: Report) -> None:
    prompts = tuple(one.model_copy(update={"files": {"image": "0.png"}}) for one in plan.validation.prompts)
    dataset = DATASET.model_copy(update={"files": {"image": "before", "mask_image": "where"}})
    said = section(card(asking(plan, dataset=dataset, prompts=prompts), report), "How good it is")
    assert "from the column `Prompt`, their `image` from `before` and their `mask_image` from `where` of [" in said
    told = "are in [`publish/plan.json`](publish/plan.json), their files in `publish/questions/`.\n"
    assert told in said
    said = section(card(asking(plan, prompts=prompts), report), "How good it is")
    assert told in said
    assert "publish/questions" not in card(plan, report)


def test_the_size_is_that_of_the_files_that_were_judged(plan: TargetPlan, report: Report) -> None:
    planned = plan.model_copy(update={"result_bytes": 1, "source_bytes": 2})
    text = card(planned, report.model_copy(update={"sizes": Sizes(source=4_000_000, result=3_000_000)}))
    assert "It takes 3.0 MB instead of 4.0 MB" in text
    assert "- Disk: 3.0 MB." in section(text, "What it needs")


def test_a_single_model_has_no_other_components(plan: TargetPlan, report: Report) -> None:
    every = "- Every component that is not named here."
    assert every in card(plan, report)
    assert every not in card(plan.model_copy(update={"files": {"config.json": ListedFile(size=1)}}), report)


def test_a_license_is_told_in_a_sentence(plan: TargetPlan, report: Report) -> None:
    source = SourceCard({"license": "other", "license_name": "flux-1-dev"})
    said = section(card(plan, report, source), "License")
    assert said.strip() == "It is that of the source, whose card states `license`: other, `license_name`: flux-1-dev."


def test_a_picture_of_a_video_is_said_to_be_its_middle_frame(plan: TargetPlan, report: Report) -> None:
    video = {"task": "text-to-video"}
    text = card(plan.model_copy(update=video), report.model_copy(update=video))
    assert "![Left the source, right this model: the middle frame of the worst of the 48 videos" in text
    assert text.count("; the picture shows the middle frame.*") == 2
    assert "middle frame" not in card(plan, report)
