"""Whatever is measured and whatever a recipe says, a card that shows it as it is is not refused."""

from __future__ import annotations

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pipeline.card.metadata import SourceCard
from pipeline.card.stage import compose, reread
from pipeline.recipe import Prompt
from pipeline.validate import Finding, Report
from pipeline.validate.report import Interval, LimitResult
from tests.cards.conftest import LORA, asking, recorded

PLAN, REPORT = recorded()
NAMES = dict(zip(PLAN.components, ("transformer_2", "unet"), strict=True))
numbers = st.one_of(
    st.floats(-1e6, 1e6), st.floats(-1, 1), st.sampled_from([0.0, -0.0, 1.0, 100.0, 0.5, 1e-9, -1e-12, 9.9999999])
)
words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=30).filter(
    str.strip
)
licenses = words.map(lambda text: f"own-{text}")  # no license is a bare number
odd = st.one_of(
    words, st.sampled_from(["7", "3.5", "1,024", "-2", "1e5", "seed 9", "psnr 40 dB", "v1.2", "“5”", "5 layers"])
)


@st.composite
def intervals(draw: st.DrawFn) -> Interval:
    number, below, above = draw(numbers), abs(draw(numbers)), abs(draw(numbers))
    return Interval(number=number, low=number - below, high=number + above)


@st.composite
def findings(draw: st.DrawFn) -> Finding:
    within = draw(st.none() | intervals())
    drop = draw(st.none() | intervals())
    judged = LimitResult(
        words="at least 3", of="value", kind="min", bound=3, found=drop or draw(intervals()), verdict="PASS"
    )
    return Finding(
        value=within.number if within else draw(numbers),
        interval=within,
        reference=draw(st.none() | numbers),
        drop=drop,
        ratio=None if drop else draw(st.none() | intervals()),
        floor=draw(st.none() | numbers),
        unit=draw(st.sampled_from(["", "dB", "points", "s"])),
        direction=draw(st.sampled_from(["higher", "lower"])),
        judgements=draw(st.sampled_from([(), (judged,), (judged, judged)])),
    )


@st.composite
def reports(draw: st.DrawFn) -> Report:
    texts = draw(st.lists(odd, min_size=1, max_size=4, unique_by=lambda text: " ".join(text.split())))
    pairs = [
        REPORT.pairs[0].model_copy(update={"prompt": at, "text": text, "seed": seed, "values": {"psnr": draw(numbers)}})
        for at, text in enumerate(texts)
        for seed in (0, 5, 1234)
    ]
    layers = [
        layer.model_copy(update={"sqnr": draw(st.floats(0, 100)), "component": NAMES.get(layer.component, "vae")})
        for layer in REPORT.layers[:60:7]
    ]
    side = REPORT.candidate.model_copy(
        update={"peak_memory_bytes": draw(st.integers(0, 1 << 45)), "how": f"as published: {draw(odd)}"}
    )
    metrics = {"psnr": draw(findings()), "size_ratio": draw(findings())}
    found = {"pairs": tuple(pairs), "layers": tuple(layers), "metrics": metrics, "candidate": side}
    return REPORT.model_copy(
        update={**found, "unmeasured": {"lpips": f"It needs {draw(odd)}."}, "identical": draw(st.integers(0, 2000))}
    )


@given(reports(), st.dictionaries(st.sampled_from(["license", "license_name", "license_link"]), licenses), st.data())
@settings(max_examples=25, deadline=None, phases=[Phase.generate])
def test_a_card_that_shows_what_was_measured_is_never_refused(
    report: Report, said: dict[str, str], data: st.DataObject
) -> None:
    texts = dict.fromkeys(pair.text for pair in report.pairs)
    asked = asking(PLAN, prompts=tuple(Prompt(prompt=text) for text in texts), seeds=(0, 5, 1234))
    parts = {
        name: part.model_copy(
            update={"parameters": data.draw(st.integers(0, 1 << 40)), "tensors": data.draw(st.integers(0, 2000))}
        )
        for name, part in zip(NAMES.values(), PLAN.components.values(), strict=True)
    }
    lora = LORA.model_copy(update={"scale": data.draw(st.floats(0.001, 100))})
    plan = asked.model_copy(update={"components": parts, "loras": (lora,)})
    card = compose(plan, report, SourceCard(said), executed=data.draw(st.booleans()))
    assert reread(card.text, plan, report, [card.usage]) == []
