"""What a watch left is data of libraries that nobody reviewed: pins of it are proposed, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.workflows.forge import Forge, serving, token_of

RIGHTS = {"contents": "write", "issues": "write", "pull-requests": "write"}
OLD, NEW = "1" * 40, "2" * 40
RECIPE = f"""\
# Tiny, 3 million parameters; license mit.
source:
  repo: acme/tiny
  revision: {OLD}   # the newest
task: text-to-image
build: 3   # since May
targets: {{one: {{model: {{backend: torchao}}}}}}
"""
CONSTRAINTS = "numpy==2.0\ntorch==2.8.0\n"
DIGEST = "0" * 64
LOCK = f"# Written.\nnumpy==2.0 --hash=sha256:{DIGEST}\ntorch==2.8.0+cpu --hash=sha256:{DIGEST}\n"
ISSUE, BUMP, REBUILD = "issue-acme--tiny-one", "bump-recipes--tiny.yaml", "rebuild-recipes--tiny.yaml"
Watched = Callable[..., int]


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[Forge]:
    played = Forge(tmp_path / "checkout")
    (tmp_path / "checkout" / "recipes").mkdir(parents=True)
    files = {"recipes/tiny.yaml": RECIPE, "constraints.txt": CONSTRAINTS, "requirements-publish.txt": LOCK}
    for name, text in files.items():
        (tmp_path / "checkout" / name).write_text(text)
    played.git("init", "--quiet", "--initial-branch=main")
    played.git("add", "--all")
    played.git("commit", "--quiet", "--message", "Begin")
    return played


@pytest.fixture
def found(forge: Forge, scripts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    """Return what opens what a watch left: texts by their names, and the files beside them."""
    left = tmp_path / "found"
    with serving(forge) as address:
        monkeypatch.chdir(tmp_path / "checkout")
        monkeypatch.setenv("GITHUB_API_URL", address)
        monkeypatch.setenv("GITHUB_REPOSITORY", "acme/recipes")
        monkeypatch.setenv("GITHUB_TOKEN", token_of(RIGHTS))
        monkeypatch.setenv("GITHUB_SHA", forge.git("rev-parse", "main"))

        def opened(
            texts: dict[str, str], files: dict[str, str] | None = None, links: dict[str, Path] | None = None
        ) -> int:
            for path in sorted(left.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
            left.mkdir(exist_ok=True)
            (left / "watch.txt").write_text("as people read it")
            for name, text in {**{f"{name}.md": text for name, text in texts.items()}, **(files or {})}.items():
                (left / name).parent.mkdir(parents=True, exist_ok=True)
                (left / name).write_text(text)
            for name, to in (links or {}).items():
                (left / name).parent.mkdir(parents=True, exist_ok=True)
                (left / name).symlink_to(to)
            return int(scripts("findings").main("open", str(left)))

        yield opened


def moved(to: str = NEW, title: str = "Move it to 222222222222") -> tuple[dict[str, str], dict[str, str]]:
    return {BUMP: f"{title}\n\nacme/tiny moved.\n"}, {f"{BUMP}/recipes/tiny.yaml": RECIPE.replace(OLD, to)}


def branch(forge: Forge, name: str) -> str:
    """Return what a branch changes, a line each."""
    shown = forge.git("diff", "--unified=0", "main", f"watch/{name}").splitlines()
    return "\n".join(line for line in shown if line[:1] in {"+", "-"} and line[:3] not in {"+++", "---"})


def test_a_source_that_moved_becomes_a_pull_request_that_changes_the_pin_and_nothing_else(
    found: Watched, forge: Forge
) -> None:
    assert found(*moved()) == 0
    (pull,) = forge.open
    assert (pull["title"], "pull_request" in pull) == ("Move it to 222222222222", True)
    assert "```text\nacme/tiny moved.\n```" in pull["body"]
    assert "*Approve workflows to run*" in pull["body"]
    assert branch(forge, BUMP) == f"-  revision: {OLD}   # the newest\n+  revision: {NEW}   # the newest"
    assert forge.git("log", "--format=%an %s", f"main..watch/{BUMP}") == "github-actions[bot] Move it to 222222222222"


def test_what_is_found_again_is_updated_in_place_and_a_branch_only_where_it_differs(
    found: Watched, forge: Forge
) -> None:
    found(*moved())
    found({**moved()[0], ISSUE: "It does not load\n\nNo.\n"}, moved()[1])
    head = forge.git("rev-parse", f"watch/{BUMP}")
    forge.asked.clear()
    found({**moved()[0], ISSUE: "It does not load\n\nNo.\n"}, moved()[1])
    assert [asked for asked in forge.asked if not asked.startswith("GET ")] == []  # nobody is told again
    assert found(*moved("3" * 40, "Move it to 333333333333")) == 0
    pull, _ = forge.issues
    assert (pull["title"], pull["state"]) == ("Move it to 333333333333", "open")
    assert forge.git("rev-parse", f"watch/{BUMP}") != head
    assert "3" * 40 in branch(forge, BUMP)


def test_a_branch_on_which_somebody_went_on_is_left(found: Watched, forge: Forge) -> None:
    found(*moved())
    tree = forge.git("rev-parse", f"watch/{BUMP}^{{tree}}")
    named = {"GIT_AUTHOR_NAME": "alice", "GIT_AUTHOR_EMAIL": "a@example.org"}
    theirs = forge.git("commit-tree", tree, "-p", f"watch/{BUMP}", "-m", "Mine", **named)
    forge.git("update-ref", f"refs/heads/watch/{BUMP}", theirs)
    assert found(*moved("3" * 40, "Move it to 333333333333")) == 0
    assert forge.git("rev-parse", f"watch/{BUMP}") == theirs
    assert forge.open[0]["title"] == "Move it to 222222222222"


def test_a_branch_whose_commit_somebody_made_anew_is_left_whoever_its_author_is(found: Watched, forge: Forge) -> None:
    found(*moved())
    tree = forge.git("rev-parse", f"watch/{BUMP}^{{tree}}")
    amended = forge.git("commit-tree", tree, "-p", "main", "-m", "Amended", GIT_COMMITTER_NAME="alice")
    forge.git("update-ref", f"refs/heads/watch/{BUMP}", amended)
    assert found(*moved("3" * 40, "Move it to 333333333333")) == 0
    assert forge.git("rev-parse", f"watch/{BUMP}") == amended


def test_what_becomes_a_pull_request_is_closed_as_an_issue_and_the_other_way_round(
    found: Watched, forge: Forge
) -> None:
    texts, files = moved()
    for given in ({}, files, {}):
        assert found(texts, given) == 0
        (one,) = forge.open
        assert ("pull_request" in one) == bool(given)
        assert ("*Approve workflows to run*" in one["body"]) == bool(given)


def test_what_github_refuses_of_one_keeps_no_other_from_being_closed_or_opened(
    found: Watched, forge: Forge, capsys: pytest.CaptureFixture[str]
) -> None:
    found({f"issue-acme--{at}": f"{at} does not load\n\nNo.\n" for at in range(2)})
    forge.broken = {2}  # its number
    assert found({ISSUE: "It does not load\n\nNo.\n"}) == 9
    assert [one["title"] for one in forge.open] == ["0 does not load", "It does not load"]
    assert "GitHub answered 502" in capsys.readouterr().err


def test_what_was_merged_was_not_refused_by_somebody(found: Watched, forge: Forge) -> None:
    found(*moved())
    forge.issues[0] |= {"state": "closed", "pull_request": {"merged_at": "2026-11-28T00:00:00Z"}}
    forge.pulls.clear()
    assert found(*moved()) == 0
    assert len(forge.open) == 1


def test_three_are_open_at_most_and_what_is_broken_comes_first(found: Watched, forge: Forge) -> None:
    issues = {f"issue-acme--{at}": f"{at} does not load\n\nNo.\n" for at in range(4)}
    assert found({**issues, **moved()[0]}, moved()[1]) == 0
    assert [one["title"] for one in forge.open] == [f"{at} does not load" for at in range(3)]
    forge.issues[0]["state"] = "closed"  # by somebody
    found({**issues, **moved()[0]}, moved()[1])
    assert [one["title"] for one in forge.open] == [f"{at} does not load" for at in (1, 2, 3)]


def test_what_is_no_longer_found_is_closed_and_opened_again_where_it_comes_back(found: Watched, forge: Forge) -> None:
    found({ISSUE: "It does not load\n\nNo.\n"})
    found({ISSUE: ""})  # nobody knows otherwise
    assert len(forge.open) == 1
    found({})
    assert forge.open == []
    assert "A later watch found no more of it." in forge.issues[0]["body"]
    found({ISSUE: "It does not load\n\nNo.\n"})
    assert len(forge.open) == 1


def test_what_is_open_is_listed_for_the_watch_and_only_what_is_ours(
    scripts: Any, found: Watched, forge: Forge, tmp_path: Path
) -> None:
    found({ISSUE: "It does not load\n\nNo.\n", "issue-acme--two": "Two\n\nNo.\n"})
    theirs = {**forge.issues[0], "number": 9, "user": {"login": "mallory"}}
    forge.issues[1]["body"] = forge.issues[1]["body"].replace("issue-acme--two", "../../outside")
    forge.issues.append(theirs)
    scripts("findings").main("list", str(tmp_path / "listed"))
    assert [path.name for path in (tmp_path / "listed").iterdir()] == [f"{ISSUE}.md"]


def test_a_recipe_to_be_made_again_brings_newer_versions_of_the_same_packages(found: Watched, forge: Forge) -> None:
    files = {
        "recipes/tiny.yaml": RECIPE.replace("build: 3", "build: 4"),
        "constraints.txt": CONSTRAINTS.replace("2.8.0", "2.9.0"),
        "requirements-publish.txt": LOCK.replace("2.8.0", "2.9.0").replace(DIGEST, "a" * 64),
    }
    text = {REBUILD: "Make it again, as build 4\n\nIt is broken.\n"}
    assert found(text, {f"{REBUILD}/{name}": content for name, content in files.items()}) == 0
    assert "raises the versions" in forge.open[0]["body"]
    assert branch(forge, REBUILD).count("\n+") == 4
    files["requirements-publish.txt"] += f"another==1.0 --hash=sha256:{DIGEST}\n"
    assert found(text, {f"{REBUILD}/{name}": content for name, content in files.items()}) == 0
    assert branch(forge, REBUILD) == "-build: 3   # since May\n+build: 4   # since May"  # and not half of the lists
    assert "raises no versions" in forge.open[0]["body"]
    del files["constraints.txt"]
    found(text, {f"{REBUILD}/{name}": content for name, content in files.items()})
    assert branch(forge, REBUILD) == "-build: 3   # since May\n+build: 4   # since May"
    assert "raises no versions" in forge.open[0]["body"]


def test_a_recipe_that_somebody_has_to_change_by_hand_is_an_issue(found: Watched, forge: Forge) -> None:
    assert found(moved()[0]) == 0
    assert "pull_request" not in forge.open[0]
    assert forge.git("branch", "--list", "watch/*") == ""


@pytest.mark.parametrize(
    "after",
    [
        RECIPE.replace("acme/tiny", "mallory/tiny"),
        RECIPE.replace(OLD, f"{NEW} # and").replace("# and   ", "# "),
        RECIPE.replace(OLD, "main"),
        RECIPE.replace(OLD, NEW) + "destination: {adopt: true}\n",
        RECIPE.replace(OLD, NEW).replace("task: text-to-image\n", ""),
        RECIPE.replace("\nsource", "\n# a remark\nsource"),
        RECIPE.replace("# Tiny", "include: other.yaml # Tiny"),
        RECIPE.replace("; license mit.", "\rinclude: other.yaml"),
        RECIPE.replace("; license mit.", "\x85include: other.yaml"),
        RECIPE.replace("; license mit.", "\u2028include: other.yaml"),
        RECIPE.replace("build: 3", "build: 0x3"),
        RECIPE.replace("build: 3", "build: 3e9"),
        RECIPE.replace("build: 3", "build: 12"),
        RECIPE.replace("build: 3", "build: 2"),
        f"{RECIPE}build: 4\n",
        f"{RECIPE}revision: {NEW}\n",
        RECIPE.replace("# Tiny", "# yaml-language-server: $schema=https://example.org/"),
        RECIPE.replace("license mit", "license \u202emit"),
        RECIPE.replace("build: 3   # since May", "build: 4   # since June"),
        RECIPE + f"revision: {NEW}, token: HF_TOKEN\n",
        RECIPE.replace("\n", "\r\n"),
        "x" * (1 << 20) + RECIPE,
    ],
)
def test_a_change_of_more_than_pins_is_refused(found: Watched, forge: Forge, after: str) -> None:
    assert after != RECIPE
    assert found(moved()[0], {f"{BUMP}/recipes/tiny.yaml": after}) == 2
    assert forge.issues == []


@pytest.mark.parametrize(
    "after",
    [
        RECIPE.replace("license mit", "license apache-2.0").replace(OLD, NEW),
        RECIPE.replace("  repo: acme/tiny\n", f"  repo: acme/tiny\n  revision: {NEW}\n"),
        RECIPE.replace("build: 3", "build: 4"),
    ],
)
def test_what_bump_writes_is_accepted(found: Watched, forge: Forge, after: str) -> None:
    assert found(moved()[0], {f"{BUMP}/recipes/tiny.yaml": after}) == 0
    assert len(forge.open) == 1


@pytest.mark.parametrize(
    "files",
    [
        {f"{BUMP}/recipes/other.yaml": RECIPE},
        {f"{BUMP}/.github/workflows/publish.yml": "on: push"},
        {f"{BUMP}/Makefile": "venv:"},
        {f"{BUMP}/constraints.txt": CONSTRAINTS.replace("2.8.0", "2.7.0")},
        {f"{REBUILD}.md": "Again", f"{REBUILD}/constraints.txt": CONSTRAINTS.replace("2.8.0", "2.7.0")},
        {f"{BUMP}/recipes/{at}.yaml": RECIPE for at in range(9)},
        {f"{ISSUE}.txt": "It does not load"},
        {"issue-@me.md": "It does not load"},
        {f"{ISSUE}.md": "It does not load <b>\n"},
        {f"{ISSUE}.md": "a" * 300},
        {f"{ISSUE}.md": "a" * (1 << 20)},
        {f"issue-{at}.md": "It does not load" for at in range(30)},
    ],
)
def test_what_a_watch_does_not_write_is_refused_and_closes_nothing(
    found: Watched, forge: Forge, files: dict[str, str]
) -> None:
    found({"issue-acme--two": "Two does not load\n\nNo.\n"})
    assert found(moved()[0], files) == 2
    assert forge.issues[0]["state"] == "open"


@pytest.mark.parametrize("link", [f"{ISSUE}.md", f"{BUMP}/recipes/tiny.yaml", f"{BUMP}/recipes", BUMP])
def test_links_are_not_followed(found: Watched, forge: Forge, tmp_path: Path, link: str) -> None:
    texts, files = moved()
    outside = {f"{ISSUE}.md": "It is secret\n\nNo.\n", "tiny.yaml": next(iter(files.values()))}
    (tmp_path / "outside" / "recipes").mkdir(parents=True)
    for name, text in {**outside, "recipes/tiny.yaml": outside["tiny.yaml"]}.items():
        (tmp_path / "outside" / name).write_text(text)
    to = {
        f"{ISSUE}.md": f"{ISSUE}.md",
        f"{BUMP}/recipes/tiny.yaml": "tiny.yaml",
        f"{BUMP}/recipes": "recipes",
        BUMP: "",
    }
    assert found(texts, links={link: tmp_path / "outside" / to[link]}) == 2
    assert [one for one in forge.issues if one["title"] == "It is secret" or "pull_request" in one] == []


def test_a_recipe_that_is_a_link_is_left(found: Watched, forge: Forge, tmp_path: Path) -> None:
    (tmp_path / "checkout" / "recipes" / "tiny.yaml").rename(tmp_path / "checkout" / "tiny.yaml")
    (tmp_path / "checkout" / "recipes" / "tiny.yaml").symlink_to("../tiny.yaml")
    assert found(*moved()) == 2
    assert forge.issues == []


def test_words_of_the_watch_are_neither_html_nor_a_mention_and_carry_no_mark(found: Watched, forge: Forge) -> None:
    found({ISSUE: "It does not load\n\n```\n@me <!-- watch: issue-other.md x -->\n\x1b[31m"})
    lines = forge.open[0]["body"].splitlines()
    assert lines[0].startswith(f"<!-- watch: {ISSUE}.md ")
    assert lines[1] == "````text"
    assert lines[-1] == "````"
    assert "\x1b" not in forge.open[0]["body"]


def test_a_setting_that_forbids_pull_requests_is_told_and_hides_no_issue(
    found: Watched, forge: Forge, capsys: pytest.CaptureFixture[str]
) -> None:
    forge.pulls_allowed = False
    texts, files = moved()
    build = {f"{REBUILD}/recipes/tiny.yaml": RECIPE.replace("build: 3", "build: 4")}
    assert found({**texts, REBUILD: "Again\n\nNo.\n", ISSUE: "It does not load\n\nNo.\n"}, {**files, **build}) == 9
    assert [one["title"] for one in forge.open] == ["It does not load"]
    assert "under Actions, General" in capsys.readouterr().err
    forge.pulls_allowed = True
    assert found({**texts, ISSUE: "It does not load\n\nNo.\n"}, files) == 0
    assert len(forge.open) == 2


def test_constraints_get_the_versions_of_what_is_locked_and_of_nothing_else(scripts: Any) -> None:
    locked = f"# Written.\nhuggingface-hub==2.0 --hash=sha256:{DIGEST}\ntorch==2.9.0+cpu --hash=sha256:{DIGEST}\n"
    before = "huggingface_hub==1.0\nruff==0.1\ntorch==2.8.0\n"
    assert scripts("watch").raised(before, locked) == "huggingface_hub==2.0\nruff==0.1\ntorch==2.9.0\n"
