"""Collections keep lists of repositories, survive a restart, and show nobody what they may not see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from pipeline.hub.local import running

TOKENS = {
    "hf_alice": {"name": "alice", "role": "write", "orgs": ["my-org"]},
    "hf_reader": {"name": "alice", "role": "read", "orgs": ["my-org"]},
    "hf_bob": {"name": "bob", "role": "write"},
    "hf_curator": {
        "name": "curator",
        "role": "fineGrained",
        "fineGrained": {"scoped": [{"entity": {"type": "org", "name": "my-org"}, "permissions": ["collection.write"]}]},
    },
}
As = Callable[[str | bool], HfApi]


@pytest.fixture
def hub(root: Path) -> Iterator[str]:
    with running(root, tokens=TOKENS) as endpoint:
        api = HfApi(endpoint=endpoint, token="hf_alice")
        for name in ("one", "two"):
            api.create_repo(f"my-org/{name}")
        api.create_repo("my-org/hidden", private=True)
        api.create_repo("my-org/prompts", repo_type="dataset")
        yield endpoint


@pytest.fixture
def who(hub: str) -> As:
    return lambda token: HfApi(endpoint=hub, token=token)


def status_of(act: Callable[[], object]) -> int:
    with pytest.raises(HfHubHTTPError) as caught:
        act()
    return caught.value.response.status_code


def test_a_collection_is_created_once_and_found_again(who: As, hub: str) -> None:
    alice = who("hf_alice")
    made = alice.create_collection("Small models, 4-bit!", namespace="my-org", description="What fits.")
    assert made.slug.startswith("my-org/small-models-4-bit-")
    assert (made.title, made.description, made.private, made.items) == ("Small models, 4-bit!", "What fits.", False, [])
    assert made.url == f"{hub}/collections/{made.slug}"
    assert status_of(lambda: alice.create_collection("Small models, 4-bit!", namespace="my-org")) == 409
    assert alice.create_collection("Small models, 4-bit!", namespace="my-org", exists_ok=True).slug == made.slug
    assert who(False).get_collection(made.slug) == made
    assert alice.create_collection("Small models, 4-bit!").slug.startswith("alice/")


def test_items_are_added_once_moved_noted_and_taken_out(who: As) -> None:
    api = who("hf_alice")
    slug = api.create_collection("Mine", namespace="my-org").slug
    api.add_collection_item(slug, "my-org/one", "model", note="the first")
    api.add_collection_item(slug, "my-org/prompts", "dataset")
    both = api.add_collection_item(slug, "my-org/two", "model")
    assert [(item.item_id, item.item_type, item.note) for item in both.items] == [
        ("my-org/one", "model", "the first"),
        ("my-org/prompts", "dataset", None),
        ("my-org/two", "model", None),
    ]
    assert status_of(lambda: api.add_collection_item(slug, "my-org/one", "model")) == 409
    assert api.add_collection_item(slug, "my-org/one", "model", exists_ok=True).items == both.items
    assert status_of(lambda: api.add_collection_item(slug, "my-org/none", "model")) == 404
    api.update_collection_item(slug, both.items[2].item_object_id, position=0, note="now the first")
    api.delete_collection_item(slug, both.items[1].item_object_id)
    assert status_of(lambda: api.delete_collection_item(slug, both.items[1].item_object_id)) == 404
    api.delete_collection_item(slug, both.items[1].item_object_id, missing_ok=True)
    left = api.get_collection(slug).items
    assert [(item.item_id, item.note, item.position) for item in left] == [
        ("my-org/two", "now the first", 0),
        ("my-org/one", "the first", 1),
    ]


def test_a_new_title_changes_the_slug_but_the_old_address_still_leads_there(who: As) -> None:
    api = who("hf_alice")
    old = api.create_collection("Before", namespace="my-org").slug
    changed = api.update_collection_metadata(old, title="After", description="d", theme="green", position=3)
    assert changed.slug == old.replace("before", "after")
    assert (changed.title, changed.description, changed.theme, changed.position) == ("After", "d", "green", 3)
    assert api.get_collection(old).slug == changed.slug
    api.delete_collection(old)
    assert status_of(lambda: api.get_collection(changed.slug)) == 404
    api.delete_collection(old, missing_ok=True)


def test_a_collection_may_hold_another_and_papers(who: As) -> None:
    api = who("hf_alice")
    inner = api.create_collection("Inner").slug
    outer = api.create_collection("Outer").slug
    api.add_collection_item(outer, inner, "collection")
    api.add_collection_item(outer, "2307.09288", "paper")
    api.update_collection_metadata(inner, title="Renamed")
    assert [item.item_id for item in api.get_collection(outer).items] == [
        inner.replace("inner", "renamed"),
        "2307.09288",
    ]


def test_lists_are_by_owner_and_item_and_cut_long_collections_short(who: As) -> None:
    api = who("hf_alice")
    for name in "abc":
        api.create_repo(f"my-org/{name}")
    full = api.create_collection("Full", namespace="my-org").slug
    for name in ("one", "two", "a", "b", "c"):
        api.add_collection_item(full, f"my-org/{name}", "model")
    own = api.create_collection("Own").slug
    assert [found.slug for found in api.list_collections()] == [own, full]
    assert [found.slug for found in api.list_collections(owner="my-org")] == [full]
    assert [found.slug for found in api.list_collections(item="models/my-org/two")] == [full]
    assert [found.slug for found in api.list_collections(owner=["my-org", "alice"], limit=1)] == [own]
    assert len(next(iter(api.list_collections(owner="my-org"))).items) == 4


def test_a_private_collection_and_private_items_do_not_exist_for_others(who: As) -> None:
    alice = who("hf_alice")
    private = alice.create_collection("Secret", namespace="my-org", private=True).slug
    public = alice.create_collection("Open", namespace="my-org").slug
    alice.add_collection_item(public, "my-org/hidden", "model")
    alice.add_collection_item(public, private, "collection")
    alice.add_collection_item(public, "my-org/one", "model")
    assert len(who("hf_reader").get_collection(public).items) == 3
    for token in ("hf_bob", False):
        api = who(token)
        assert status_of(lambda api=api: api.get_collection(private)) == 404
        assert status_of(lambda api=api: api.delete_collection(private)) == 404
        assert [item.item_id for item in api.get_collection(public).items] == ["my-org/one"]
        assert [found.slug for found in api.list_collections()] == [public]
        assert not list(api.list_collections(item="models/my-org/hidden"))
    assert status_of(lambda: who("hf_bob").add_collection_item(public, "my-org/two", "model")) == 403
    mine = who("hf_bob").create_collection("Guesses").slug
    assert status_of(lambda: who("hf_bob").add_collection_item(mine, "my-org/hidden", "model")) == 404


def test_changing_needs_the_right_to(who: As) -> None:
    slug = who("hf_curator").create_collection("Curated", namespace="my-org").slug
    who("hf_curator").add_collection_item(slug, "my-org/one", "model")
    for token, status in (("hf_reader", 403), ("hf_bob", 403), (False, 401)):
        api = who(token)
        for act in (
            lambda api=api: api.create_collection("Mine", namespace="my-org"),
            lambda api=api: api.update_collection_metadata(slug, title="Mine"),
            lambda api=api: api.add_collection_item(slug, "my-org/two", "model"),
            lambda api=api: api.delete_collection(slug),
        ):
            assert status_of(act) == status
    assert status_of(lambda: who("hf_curator").create_repo("my-org/new")) == 403


def test_collections_survive_a_restart_and_many_writers(root: Path) -> None:
    with running(root) as endpoint:
        api = HfApi(endpoint=endpoint, token=False)
        names = [f"alice/m{number}" for number in range(12)]
        for name in names:
            api.create_repo(name)
        slug = api.create_collection("All", namespace="alice").slug
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda name: api.add_collection_item(slug, name, "model"), names))
            titles = list(pool.map(lambda _: _created(endpoint), range(6)))
        assert sorted(titles) == [200, 409, 409, 409, 409, 409]
    with running(root) as endpoint:
        found = HfApi(endpoint=endpoint, token=False).get_collection(slug)
        assert sorted(item.item_id for item in found.items) == sorted(names)


def _created(endpoint: str) -> int:
    return httpx2.post(f"{endpoint}/api/collections", json={"title": "One", "namespace": "alice"}).status_code


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"title": ""},
        {"title": "  "},
        {"title": 3},
        {"title": "x" * 61},
        {"title": "x", "description": "x" * 151},
        {"title": "x", "description": ["x"]},
        {"title": "x", "private": "yes"},
        {"title": "x", "namespace": "../../up"},
        {"title": "x", "namespace": 5},
        {"title": "x", "theme": "none"},
        {"title": "x", "theme": ["green"]},
        {"title": "x", "position": True},
        {"title": "x", "position": 1e9},
        ["title"],
    ],
)
def test_a_collection_that_is_none_is_refused(endpoint: str, root: Path, body: Any) -> None:
    assert httpx2.post(f"{endpoint}/api/collections", json=body).status_code == 400
    assert not list(root.rglob("collections/*/*.json"))


def test_an_item_that_is_none_is_refused(endpoint: str) -> None:
    slug = httpx2.post(f"{endpoint}/api/collections", json={"title": "x"}).json()["slug"]
    for item in (None, "x", {}, {"id": "a/b"}, {"id": 3, "type": "model"}, {"id": "a", "type": "model"}, {"type": []}):
        answer = httpx2.post(f"{endpoint}/api/collections/{slug}/items", json={"item": item})
        assert answer.status_code == 400, item
    for name in ("..", "a/b/c", "%2e%2e/x", "x" * 300):
        item = {"id": f"alice/{name}", "type": "model"}
        answer = httpx2.post(f"{endpoint}/api/collections/{slug}/items", json={"item": item})
        assert answer.status_code in {400, 404}, name
    assert httpx2.get(f"{endpoint}/api/collections/local/..%2F..%2Fstorage-{'a' * 24}").status_code == 404
