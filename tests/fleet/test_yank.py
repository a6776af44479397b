"""Yank: a tag is withdrawn in the open, once, and everything that ``main`` says of itself stays true."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from markdown_it import MarkdownIt
from ruamel.yaml import YAML

from localhub.faults import Faults
from pipeline.errors import CardError, PublishError, RecipeError, RemoteChangedError
from pipeline.hub.client import Hub
from pipeline.hub.withdrawn import Withdrawal, Withdrawals, read_withdrawals
from pipeline.release.yank import changed, commit, inert, with_banner, yank
from tests.desk import REPO, TWO, Desk

ONE = "alice/tiny-one"
WHY = "It draws fours."
Read = Callable[[str], bytes]


@pytest.fixture
def read(hub: Hub) -> Read:
    """Return a file of ``main``."""
    return lambda name: hub.content(ONE, "main", name, 1 << 24) or b""


def front(card: str) -> Any:
    return YAML(typ="safe", pure=True).load(card.split("---\n")[1])


def test_a_tag_is_withdrawn_by_one_commit_and_stays_where_it_is(desk: Desk, hub: Hub, read: Read) -> None:
    before, history, card = hub.state(ONE), desk.shelf.history(ONE), read("README.md").decode()
    done = desk.publish("--json", "yank", ONE, "v1", "--why", WHY, "--new-version", REPO)
    assert done.code == 0, done.err
    after = hub.state(ONE)
    assert done.lines[-1]["result"] == {
        "state": "yanked", "repository": ONE, "tag": "v1", "why": WHY, "new_version": REPO, "commit": after.head,
    }  # fmt: skip
    assert desk.shelf.history(ONE) == ["Yank v1", *history]
    assert after.tags == before.tags == {"v1": before.head}
    now = read("README.md").decode()
    told = now.split("---\n", 2)[2]
    assert told.startswith("> **`v1` was withdrawn")
    assert WHY in told.splitlines()[0]
    assert now.endswith(card.split("---\n", 2)[2])
    assert front(now) == {**front(card), "new_version": REPO}
    assert hub.content(ONE, "v1", "README.md", 1 << 24) == card.encode()


def test_what_was_withdrawn_is_told_by_who_verifies_it_whatever_revision_he_names(desk: Desk, hub: Hub) -> None:
    yank(hub, ONE, "v1", "a test", REPO)
    for revision in ((), ("--revision", "v1")):
        done = desk.publish("--json", "verify", ONE, "--no-load", *revision)
        checks = {check["name"]: check for check in done.lines[-1]["result"]["checks"]}
        told = f"v1 was withdrawn by its publisher: a test. Use {REPO} instead."
        assert (checks["withdrawals"]["state"], checks["withdrawals"]["text"]) == ("note", told)
        assert checks["card"]["state"] == "passed"


def test_a_hub_whose_address_changes_is_not_linked_to(hub: Hub, desk: Desk, read: Read) -> None:
    passing = Hub(hub.endpoint, token="alice", name=str(desk.folder))
    yank(passing, ONE, "v1", "a test", REPO)
    assert f"The reason given: a test. Use `{REPO}` instead." in read("README.md").decode()


def test_the_manifest_of_main_stays_true(desk: Desk, hub: Hub, read: Read) -> None:
    yank(hub, ONE, "v1", WHY)
    files = json.loads(read("publish/manifest.json"))["files"]
    assert set(files) == set(desk.shelf.api.list_repo_files(ONE)) - {".gitattributes", "publish/manifest.json"}
    for name, entry in files.items():
        content = read(name)
        assert (name, entry) == (name, {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()})


def test_withdrawing_again_changes_nothing(desk: Desk, hub: Hub) -> None:
    first = yank(hub, ONE, "v1", WHY)
    again = yank(hub, ONE, "v1", "Another reason.")
    assert (again.state, again.why, again.commit) == ("unchanged", WHY, first.commit)
    assert hub.state(ONE).head == first.commit


def test_a_run_of_a_withdrawn_plan_publishes_nothing_and_says_so(desk: Desk, hub: Hub) -> None:
    head = yank(hub, ONE, "v1", WHY).commit
    done = desk.publish("--json", "run", "recipe.yaml", "--target", "one")
    assert done.code == 0, done.err
    (outcome,) = done.lines[-1]["result"]
    assert (outcome["state"], outcome["tag"]) == ("yanked", "v1")
    assert WHY in done.err
    assert hub.state(ONE).head == head
    assert desk.shelf.tags(ONE) == ["v1"]


def test_a_withdrawn_plan_is_shown_as_such(desk: Desk, hub: Hub) -> None:
    for gone, published, withdrawn in ((False, "v1", None), (True, None, "v1")):
        if gone:
            yank(hub, ONE, "v1", WHY)
        made = desk.publish("--json", "plan", "recipe.yaml", "--target", "one").lines[-1]
        assert (made["published_as"], made["withdrawn_as"]) == (published, withdrawn)
    done = desk.publish("plan", "recipe.yaml", "--target", "one")
    assert f"plan {made['digest'][:12]}: withdrawn as v1: {WHY}" in done.err


@pytest.mark.nightly
def test_a_changed_plan_is_released_and_the_withdrawal_stays_known(desk: Desk, hub: Hub, read: Read) -> None:
    yank(hub, ONE, "v1", WHY, REPO)
    recipe = desk.recipe(TWO, require={"size_ratio": {"max": 1.9}})
    done = desk.publish("run", recipe, "--target", "one")
    assert done.code == 0, done.err
    state = hub.state(ONE)
    assert state.tags is not None
    assert state.tags["v2"] == state.head
    assert "withdrawn" not in read("README.md").decode()
    assert read_withdrawals(hub, ONE, str(state.head)).tags["v1"].why == WHY
    back = desk.publish("--json", "run", desk.recipe(TWO), "--target", "one")
    assert back.lines[-1]["result"][0]["state"] == "yanked"
    assert hub.state(ONE).head == state.head


def test_an_older_tag_leaves_what_main_shows_published(desk: Desk, hub: Hub, read: Read) -> None:
    plan = json.loads(read("publish/plan.json"))
    plan["private"] = True
    title = desk.shelf.history(ONE)[0]
    older = desk.shelf.commit_files({"publish/plan.json": json.dumps(plan).encode()}, ONE, title)
    desk.shelf.api.create_tag(ONE, tag="v2", revision=older)
    plan["private"] = False
    head = desk.shelf.commit_files({"publish/plan.json": json.dumps(plan, indent=2).encode()}, ONE, title)
    desk.shelf.api.create_tag(ONE, tag="v3", revision=head)
    yank(hub, ONE, "v2", WHY, REPO)
    assert "`v2` was withdrawn" in read("README.md").decode()
    assert "new_version" not in front(read("README.md").decode())
    done = desk.publish("--json", "run", "recipe.yaml", "--target", "one")
    (outcome,) = done.lines[-1]["result"]
    assert (outcome["state"], outcome["tag"]) == ("unchanged", "v3")


def test_a_release_beneath_somebodys_commit_is_what_main_shows(desk: Desk, hub: Hub, read: Read) -> None:
    desk.shelf.commit_files({"notes.md": b"mine"}, ONE)
    yank(hub, ONE, "v1", WHY, REPO)
    assert front(read("README.md").decode())["new_version"] == REPO


@pytest.mark.parametrize("name", ["README.md", "publish/manifest.json"])
def test_what_somebody_edited_is_not_passed_off_as_ours(desk: Desk, hub: Hub, read: Read, name: str) -> None:
    edited = desk.shelf.commit_files({name: read(name) + b"\n"}, ONE)
    with pytest.raises(RemoteChangedError) as caught:
        yank(hub, ONE, "v1", WHY)
    assert caught.value.exit_code == 8
    assert f"changed since v1: {name} in {edited[:12]} ('Change files' by alice on" in str(caught.value)
    assert hub.state(ONE).head == edited


@pytest.mark.parametrize("fault", ["lost", "hang-after=1"])
def test_a_lost_answer_withdraws_once(desk: Desk, hub: Hub, faults: Faults, fault: str) -> None:
    faults.rules = Faults([f"POST /api/models/{ONE}/commit/ {fault}"]).rules
    assert yank(hub, ONE, "v1", WHY).state == "yanked"
    assert desk.shelf.history(ONE).count("Yank v1") == 1


def test_a_main_that_moved_is_not_overwritten(desk: Desk, hub: Hub, faults: Faults) -> None:
    head = hub.state(ONE).head
    faults.rules = Faults([f"POST /api/models/{ONE}/commit/ moved"]).rules
    with pytest.raises(RemoteChangedError):
        yank(hub, ONE, "v1", WHY)
    assert hub.state(ONE).head == head


def test_what_somebody_else_committed_meanwhile_stays(desk: Desk, hub: Hub) -> None:
    head = str(hub.state(ONE).head)
    known = Withdrawals(tags={"v1": Withdrawal(commit=head, plan="x", why=WHY)})
    files = changed(hub, ONE, head, "v1", known)
    theirs = desk.shelf.commit_files({"notes.md": b"mine"}, ONE)
    with pytest.raises(RemoteChangedError):
        commit(hub, ONE, head, "v1", files)
    assert hub.state(ONE).head == theirs


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((ONE, "v01", WHY), 2, "Did you mean v1?"),
        ((ONE, "main", WHY), 2, "It has v1."),
        (("alice/nothing", "v1", WHY), 2, "no such repository"),
        ((ONE, "v1", "  "), 2, "--why"),
        ((ONE, "v1", "be\u202elow"), 2, "--why"),
        ((ONE, "v1", WHY, "alice/nothing"), 2, "--new-version"),
        ((ONE, "v1", WHY, ONE), 2, "--new-version"),
    ],
)
def test_what_cannot_be_withdrawn_is_refused(hub: Hub, arguments: tuple[str, ...], code: int, said: str) -> None:
    head = hub.state(ONE).head
    with pytest.raises(PublishError) as caught:
        yank(hub, *arguments)
    assert caught.value.exit_code == code
    assert said in str(caught.value)
    assert hub.state(ONE).head == head


def test_a_repository_of_others_is_not_written_into(desk: Desk, hub: Hub) -> None:
    desk.shelf.api.create_tag(REPO, tag="v1", revision="main")
    with pytest.raises(RecipeError, match="no plan of ours"):
        yank(hub, REPO, "v1", WHY)


def test_a_token_that_may_not_write_withdraws_nothing(desk: Desk) -> None:
    desk.token = "reader"
    done = desk.publish("yank", ONE, "v1", "--why", WHY)
    assert done.code == 3
    assert "Yank v1" not in desk.shelf.history(ONE)


HOSTILE = [
    "<script>alert(1)</script>",
    "[click](javascript:alert(1)) ![x](https://evil.example/x.png)",
    "`code` **bold** _it_ | a | b | ~~gone~~ # head",
    "see https://evil.example/x or www.evil.example or a@evil.example",
    "one\n\n# two\n\n- three\n\n---\nlicense: none",
    "&lt;b&gt; &#106;avascript: <!-- --> \\",
    "{{ 7 * 7 }} {% raw %}",
]


@pytest.mark.parametrize("why", HOSTILE)
def test_a_reason_is_one_paragraph_of_text_whatever_it_holds(desk: Desk, hub: Hub, read: Read, why: str) -> None:
    card = read("README.md").decode()
    yank(hub, ONE, "v1", why)
    now = read("README.md").decode()
    assert front(now) == front(card)
    (quote,) = [line for line in now.splitlines() if line.startswith("> ")]
    inline = MarkdownIt("gfm-like").disable("linkify").parse(quote)[2]
    assert inline.children is not None
    kinds = [child.type for child in inline.children]
    assert set(kinds) <= {"text", "strong_open", "strong_close", "code_inline"}
    assert kinds.count("code_inline") == kinds.count("strong_open") == 1
    shown = "".join(child.content for child in inline.children)
    assert shown.endswith((f"The reason given: {' '.join(why.split())}", f"The reason given: {' '.join(why.split())}."))


@pytest.mark.parametrize("address", ["https://evil.example", "WWW.evil.example", "a@evil.example", "ftp://evil"])
def test_addresses_are_broken_for_readers_that_make_links_of_them(address: str) -> None:
    text = inert(address)
    assert not re.search(r"[a-z]://|www\.|(?<!\\)@", text, re.IGNORECASE)


def test_a_card_without_metadata_gets_it_and_one_that_is_broken_is_refused() -> None:
    assert with_banner("# Card\n", "> x\n", "a/b", "r") == "---\nnew_version: a/b\n---\n> x\n\n# Card\n"
    assert with_banner("# Card\n", "> x\n", None, "r") == "> x\n\n# Card\n"
    odd = "---\n# kept\nlicense: 'mit' # why\ntags:\n- a\n---\n# Card\n"
    assert with_banner(odd, "> x\n", "a/b", "r") == odd.replace("---\n# Card", "new_version: a/b\n---\n> x\n\n# Card")
    with pytest.raises(CardError):
        with_banner("---\n- a\n---\n", "> x\n", "a/b", "r")
