"""What a pull request's check left is data of a stranger: it is shown as what it is, or refused."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / ".github" / "comment.py"
PREVIEW = [
    {
        "recipe": "recipes/flux.1-dev.yaml",
        "problem": "",
        "ladder": [
            {
                "card": "12GB",
                "taken": "bnb-nf4",
                "result_bytes": 10_000_000_000,
                "estimated": True,
                "sqnr": 22.06,
                "offload": "model",
                "memory": {"none": 14_900_000_000, "model": 11_500_000_000, "sequential": 1_900_000_000},
            },
            {
                "card": "80GB",
                "taken": "",
                "result_bytes": 33_900_000_000,
                "estimated": False,
                "sqnr": None,
                "offload": "none",
                "memory": {"none": 38_700_000_000, "model": 28_600_000_000, "sequential": 2_100_000_000},
            },
        ],
        "targets": [
            {
                "target": "bnb-nf4",
                "repository": "my-org/FLUX.1-dev-bnb-nf4",
                "components": [
                    {
                        "name": "text_encoder_2",
                        "scheme": "bitsandbytes nf4",
                        "source_bytes": 9_500_000_000,
                        "result_bytes": 2_900_000_000,
                    }
                ],
                "estimated": False,
                "source_bytes": 33_900_000_000,
                "result_bytes": 10_000_000_000,
                "memory": 500_000_000,
                "validation_memory": 34_600_000_000,
                "disk": 53_900_000_000,
                "state": "changed",
                "findings": ["targets.bnb-nf4 is nf4, was fp4"],
            }
        ],
    }
]
SHOWN = """\
### `recipes/flux.1-dev.yaml`

| target | repository | source | result | memory | disk | Hub |
| --- | --- | --- | --- | --- | --- | --- |
| `bnb-nf4` | `my-org/FLUX.1-dev-bnb-nf4` | 33.9 GB | 10.0 GB | 34.6 GB | 53.9 GB | changed |

<details><summary>Components</summary>

| target | component | scheme | source | result |
| --- | --- | --- | --- | --- |
| `bnb-nf4` | `text_encoder_2` | `bitsandbytes nf4` | 9.5 GB | 2.9 GB |

</details>

| which of these for a card of | take | files | signal | all there | by models | by weights |
| --- | --- | --- | --- | --- | --- | --- |
| `12GB` | `bnb-nf4` | about 10.0 GB | 22.1 dB | 14.9 GB | **11.5 GB** | 1.9 GB |
| `80GB` | the source | 33.9 GB | all | **38.7 GB** | 28.6 GB | 2.1 GB |

Signal is over the noise of quantizing. Memory is of the card, by how it is run, bold as that card runs it; \
what a call takes beside weights is reckoned.

```text
bnb-nf4: targets.bnb-nf4 is nf4, was fp4
```"""

TRIALS = [
    {
        "recipe": "recipes/flux.1-dev.yaml",
        "stand_in": "a tiny FluxPipeline of random weights",
        "problem": "",
        "targets": [
            {
                "target": "bnb-nf4",
                "state": "tried",
                "verdict": "INCONCLUSIVE",
                "seconds": 88.64,
                "told": ["transformer: 61 tensors made nf4, loaded and asked", "the card is written"],
            },
            {"target": "12gb", "state": "untried", "verdict": None, "seconds": 0, "told": ["not tried: ..."]},
        ],
    }
]
TRIED = """\
| trial | state | limits say | took |
| --- | --- | --- | --- |
| `bnb-nf4` | tried | INCONCLUSIVE | 89 s |
| `12gb` | untried |  | 0 s |

<details><summary>What the trial found</summary>

```text
tried on a tiny FluxPipeline of random weights
bnb-nf4: transformer: 61 tensors made nf4, loaded and asked
bnb-nf4: the card is written
12gb: not tried: ...
```

</details>"""


@pytest.fixture
def comment(scripts: Any) -> Any:
    return scripts("comment")


def shown(comment: Any, value: Any) -> str:
    return str(comment.rendered(comment.read(json.dumps(value).encode())))


def tried(comment: Any, value: Any) -> str:
    """Return the preview with what was tried, and with pages of it."""
    trials = comment.read_trials(json.dumps(value).encode())
    return str(comment.rendered(comment.read(json.dumps(PREVIEW).encode()), trials, "https://github.example/77"))


def changed(where: str, to: Any, value: Any = PREVIEW) -> list[Any]:
    """Return the preview, or what was tried, with one value changed."""
    value = copy.deepcopy(value)
    *way, last = (int(key) if key.isdigit() else key for key in where.split("."))
    inner = value
    for key in way:
        inner = inner[key]
    inner[last] = to
    return value


def test_what_would_be_published_is_shown(comment: Any) -> None:
    assert shown(comment, PREVIEW) == SHOWN
    assert "nothing would be published" in shown(comment, [])


def test_what_was_tried_is_shown_beneath_its_recipe_with_a_link_to_its_pages(comment: Any) -> None:
    shown_so = tried(comment, TRIALS)
    assert shown_so.startswith(
        f"{SHOWN}\n\n{TRIED}\n\n[Pages on the trials, with the answers](https://github.example/77)"
    )
    assert comment.rendered_trials(comment.read_trials(json.dumps(TRIALS).encode())).endswith(TRIED)


def test_what_failed_in_a_trial_is_in_sight(comment: Any) -> None:
    assert "<details open>" not in tried(comment, TRIALS)
    assert "<details open>" in tried(comment, changed("0.targets.1.state", "failed", TRIALS))


@pytest.mark.parametrize("trials", [[], [{**TRIALS[0], "recipe": "recipes/another.yaml"}]])
def test_a_recipe_that_was_not_tried_says_so(comment: Any, trials: list[Any]) -> None:
    assert "\n\nIt was not tried: the check's log says why.\n\n" in tried(comment, trials)


def test_why_a_recipe_could_not_be_tried_is_said_once(comment: Any) -> None:
    why = "recipe.yaml:3: there is no such scheme"
    nothing = [{"recipe": PREVIEW[0]["recipe"], "stand_in": "", "targets": [], "problem": why}]
    assert tried(comment, nothing).count(why) == 1
    trials = comment.read_trials(json.dumps(nothing).encode())
    recipes = comment.read(json.dumps(changed("0.problem", why)).encode())
    assert comment.rendered(recipes, trials).count(why) == 1


@pytest.mark.parametrize(
    ("where", "to"),
    [
        ("0.recipe", "@me"),
        ("0.stand_in", "a" * 501),
        ("0.stand_in", None),
        ("0.problem", "a" * 5000),
        ("0.more", 1),
        ("0.targets", {}),
        ("0.targets", TRIALS[0]["targets"] * 26),
        ("0.targets.0.target", "`@me"),
        ("0.targets.0.state", "<b>"),
        ("0.targets.0.verdict", "PASS <b>"),
        ("0.targets.0.verdict", "pass"),
        ("0.targets.0.verdict", ""),
        ("0.targets.0.verdict", ["PASS"]),
        ("0.targets.0.seconds", "1"),
        ("0.targets.0.seconds", float("inf")),
        ("0.targets.0.seconds", None),
        ("0.targets.0.told", "a"),
        ("0.targets.0.told", ["a"] * 51),
        ("0.targets.0.told", ["a" * 2001]),
        ("0.targets.0.told.0", 1),
    ],
)
def test_what_no_trial_would_have_left_is_refused(comment: Any, where: str, to: Any) -> None:
    with pytest.raises(comment.UntrustedError):
        tried(comment, changed(where, to, TRIALS))


@pytest.mark.parametrize(
    ("where", "to"),
    [
        ("0.recipe", "recipes/a`b.yaml"),
        ("0.recipe", "<img src=x>"),
        ("0.recipe", "@everybody"),
        ("0.recipe", "a\nb"),
        ("0.recipe", "a|b"),
        ("0.recipe", "a" * 300),
        ("0.recipe", 1),
        ("0.recipe", None),
        ("0.problem", "a" * 5000),
        ("0.more", 1),
        ("0.targets", {}),
        ("0.targets", PREVIEW[0]["targets"] * 60),
        ("0.targets.0.repository", "[me](https://example.org)"),
        ("0.targets.0.state", "<b>"),
        ("0.targets.0.state", "@me"),
        ("0.targets.0.estimated", "yes"),
        ("0.targets.0.disk", -1),
        ("0.targets.0.disk", 1 << 70),
        ("0.targets.0.disk", True),
        ("0.targets.0.disk", 1.5),
        ("0.targets.0.disk", "1"),
        ("0.targets.0.findings", ["a"] * 51),
        ("0.ladder", {}),
        ("0.ladder", PREVIEW[0]["ladder"] * 11),
        ("0.ladder.0.card", "<b>12</b>"),
        ("0.ladder.0.card", "`|@me"),
        ("0.ladder.0.taken", "@me"),
        ("0.ladder.0.taken", []),
        ("0.ladder.0.taken", None),
        ("0.ladder.0.result_bytes", -1),
        ("0.ladder.0.estimated", "about"),
        ("0.ladder.0.sqnr", "22 dB"),
        ("0.ladder.0.sqnr", float("nan")),
        ("0.ladder.0.sqnr", True),
        ("0.ladder.0.sqnr", 1e300),
        ("0.ladder.0.offload", "@me"),
        ("0.ladder.0.offload", ["none"]),
        ("0.ladder.0.memory.none", "1"),
        ("0.ladder.0.memory", {}),
        ("0.targets.0.components.0.scheme", "nf4 @me"),
        ("0.targets.0.components.0.name", "a&#64;me"),
    ],
)
def test_what_the_check_would_not_have_written_is_refused(comment: Any, where: str, to: Any) -> None:
    with pytest.raises(comment.UntrustedError):
        shown(comment, changed(where, to))


@pytest.mark.parametrize("text", [b"", b"{}", b"null", b'"x"', b"[1]", b"[" * 100_000, b" " * 2_000_000, b"\xff"])
def test_what_is_no_preview_is_refused(comment: Any, text: bytes) -> None:
    with pytest.raises(comment.UntrustedError):
        comment.read(text)


@pytest.mark.parametrize(
    ("of", "where"),
    [
        (PREVIEW, "0.problem"),
        (PREVIEW, "0.targets.0.findings.0"),
        (TRIALS, "0.problem"),
        (TRIALS, "0.stand_in"),
        (TRIALS, "0.targets.1.told.0"),
    ],
)
def test_words_of_somebody_are_neither_html_nor_a_mention_and_end_no_block(
    comment: Any, of: list[Any], where: str
) -> None:
    text = "```\n@me <script> ``````\n\u202e\x1b[31m\n</details>"
    value = changed(where, text, of)
    lines = (shown(comment, value) if of is PREVIEW else tried(comment, value)).splitlines()
    fences = [at for at, line in enumerate(lines) if line.startswith("```")]
    opened = next(at for at in fences if lines[at] == "```````text")
    closed = next(at for at in fences if at > opened and lines[at] == "```````")
    (said,) = [at for at, line in enumerate(lines) if "@me" in line or "<script>" in line]
    assert opened < said < closed
    assert not {"\u202e", "\x1b"} & set("\n".join(lines))


def test_no_comment_is_larger_than_github_takes_whatever_was_tried_and_the_link_is_kept(comment: Any) -> None:
    many = changed("0.targets.0.told", ["a" * 2000] * 50, TRIALS)
    text = tried(comment, many)
    assert len(text) < 65_000
    assert "The rest is in the check's log.\n\n[Pages on" in text
    assert text.count("```text") * 2 == text.count("```")  # no block is left open


def test_no_comment_is_larger_than_github_takes(comment: Any) -> None:
    many = PREVIEW[0]["targets"] * 50
    text = shown(comment, [{**PREVIEW[0], "recipe": f"recipes/{at}.yaml", "targets": many} for at in range(20)])
    assert len(text) < 65_000
    assert text.endswith("The rest is in the check's log.")


def test_a_preview_that_is_none_is_told_without_asking_anybody(tmp_path: Path) -> None:
    (tmp_path / "preview.json").write_text('[{"recipe": "@me"}]')
    (tmp_path / "event.json").write_text('{"workflow_run": {}}')
    environment = {"PATH": os.environ["PATH"], "GITHUB_EVENT_PATH": str(tmp_path / "event.json")}
    command = [sys.executable, str(SCRIPT), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "This is no preview that the check wrote: 'not ladder, problem, recipe, targets'\n",
    )


def test_pages_are_linked_by_numbers_and_by_nothing_that_somebody_wrote(
    comment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.example")

    def linked(run: Any, *artifacts: Any) -> str:
        listed = [{"id": number, "expired": number == 9, "name": "](https://example.org)"} for number in artifacts]
        here = SimpleNamespace(repository="acme/recipes", ask=lambda *_, **__: {"artifacts": listed})
        return str(comment.pages_of(here, {"id": run, "name": "](https://example.org)"}))

    # Of two attempts the later one.
    assert linked(12, 7, 8, 9) == "https://github.example/acme/recipes/actions/runs/12/artifacts/8"
    assert linked(12, 9) == linked(12) == ""
    for run, artifact in {"1/../../you": 7, None: 7, 12: "7)"}.items():
        with pytest.raises((ValueError, TypeError)):
            linked(run, artifact)
