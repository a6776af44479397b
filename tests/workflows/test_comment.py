"""What a pull request's check left is data of a stranger: it is shown as what it is, or refused."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
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


@pytest.fixture
def comment(scripts: Any) -> Any:
    return scripts("comment")


def shown(comment: Any, value: Any) -> str:
    return str(comment.rendered(comment.read(json.dumps(value).encode())))


def changed(where: str, to: Any) -> list[Any]:
    """Return the preview with one value changed."""
    value: Any = copy.deepcopy(PREVIEW)
    *way, last = (int(key) if key.isdigit() else key for key in where.split("."))
    inner = value
    for key in way:
        inner = inner[key]
    inner[last] = to
    return value


def test_what_would_be_published_is_shown(comment: Any) -> None:
    assert shown(comment, PREVIEW) == SHOWN
    assert "nothing would be published" in shown(comment, [])


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


@pytest.mark.parametrize("where", ["0.problem", "0.targets.0.findings.0"])
def test_words_of_somebody_are_neither_html_nor_a_mention_and_end_no_block(comment: Any, where: str) -> None:
    text = "```\n@me <script> ``````\n\u202e\x1b[31m\n"
    lines = shown(comment, changed(where, text)).splitlines()
    fences = [at for at, line in enumerate(lines) if line.startswith("```")]
    opened = next(at for at in fences if lines[at] == "```````text")
    closed = next(at for at in fences if at > opened and lines[at] == "```````")
    assert [at for at, line in enumerate(lines) if "@me" in line or "<script>" in line] == [opened + 2]
    assert opened + 2 < closed
    assert not {"\u202e", "\x1b"} & set("\n".join(lines))


def test_no_comment_is_larger_than_github_takes(comment: Any) -> None:
    many = PREVIEW[0]["targets"] * 50
    text = shown(comment, [{**PREVIEW[0], "recipe": f"recipes/{at}.yaml", "targets": many} for at in range(20)])
    assert len(text) < 65_000
    assert text.endswith("The rest is in the check's log.")


def test_a_preview_that_is_none_is_told_without_asking_anybody(tmp_path: Path) -> None:
    (tmp_path / "preview.json").write_text('[{"recipe": "@me"}]')
    (tmp_path / "event.json").write_text('{"workflow_run": {}}')
    environment = {"PATH": os.environ["PATH"], "GITHUB_EVENT_PATH": str(tmp_path / "event.json")}
    command = [sys.executable, str(SCRIPT), str(tmp_path / "preview.json")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "This is no preview that the check wrote: 'not ladder, problem, recipe, targets'\n",
    )
