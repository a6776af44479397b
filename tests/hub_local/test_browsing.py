"""People see in a browser what the Hub holds, and nothing that a repository contains becomes active there."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from pipeline.hub.local import running

Push = Callable[..., Any]
VOID = {"meta", "br", "img", "hr"}
TOKENS = {
    "hf_alice": {"name": "alice", "role": "write"},
    "hf_bob": {"name": "bob", "role": "read"},
}
HOSTILE = """---
license_name: "<script>alert(1)</script>"
tags: ["<img src=x onerror=alert(2)>", '"><svg onload=alert(3)>']
"<b onmouseover=alert(4)>": x
---
# <script>alert(5)</script> "quoted" <img src=x onerror=alert(6)>

<script>alert(7)</script>
<iframe src="javascript:alert(8)"></iframe>

[one](javascript:alert(9)) [two](JaVaScRiPt:alert(10)) [three](&#106;avascript:alert(11))
[four](data:text/html;base64,PHNjcmlwdD4=) [five](vbscript:x) <javascript:alert(12)> [six](\x01javascript:alert(13))
[seven](java%0ascript:alert) [eight]: [ref]

![](javascript:alert(14)) ![a" onerror="alert(15)](x.png "t\\" onerror=\\"alert(16)")
![](data:image/svg+xml;base64,PHN2Zz4=)

[ref]: javascript:alert(17)

| <script>alert(18)</script> | b |
| --- | --- |
| [x](javascript:alert(19)) | `<script>` |

```"><script>alert(20)</script>
<script>alert(21)</script>
```
"""


class Seen(HTMLParser):
    """What a browser would make of a page: its elements, and whether they are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def addresses(self, name: str) -> list[str]:
        return [attributes[name] for _, attributes in self.elements if name in attributes]


def assert_passive(answer: httpx2.Response) -> Seen:
    """Hold a page to have no element, attribute or address that does anything."""
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
    assert (policy["default-src"], policy["style-src"]) == ("'none'", "'unsafe-inline'")
    assert "script-src" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    seen = Seen(answer.text)
    assert seen.open == []
    for tag, attributes in seen.elements:
        assert tag not in {"script", "iframe", "object", "embed", "svg", "base", "form", "input", "link", "b"}
        assert not [name for name in attributes if name.startswith("on") or name == "style"], attributes
    for address in seen.addresses("href") + seen.addresses("src"):
        assert urlsplit(address).scheme in {"", "http", "https", "mailto"}, address
        assert address == address.strip()
    return seen


def walk(endpoint: str, start: str = "/") -> dict[str, int]:
    """Follow every link that stays on the Hub, as a reader could, and return the status of each page."""
    found: dict[str, int] = {}
    waiting = [start]
    with httpx2.Client() as client:
        while waiting:
            path = waiting.pop()
            if path in found:
                continue
            answer = client.get(f"{endpoint}{path}")
            found[path] = answer.status_code
            if answer.headers.get("Content-Type", "").startswith("text/html") and "/resolve/" not in path:
                for address in assert_passive(answer).addresses("href"):
                    whole = urljoin(f"{endpoint}{path}", address)
                    if whole.startswith(endpoint):
                        waiting.append(whole.removeprefix(endpoint).partition("#")[0])
    return found


def see(endpoint: str, path: str) -> Seen:
    answer = httpx2.get(f"{endpoint}{path}")
    assert answer.status_code == 200, answer.text
    return assert_passive(answer)


def test_a_card_is_shown_with_its_metadata_links_and_pictures(endpoint: str, push: Push) -> None:
    card = """---
license: mit
tags: [a, b]
---
# My model

![picture](<images/a b.png>) [more](docs/more.md#part) [up](../secret) [here](#my-model) [away](https://example.com)

| size | 1 |
| --- | --- |
"""
    push({"README.md": card.encode(), "images/a b.png": b"\x89PNG\0", "docs/more.md": b"x"})
    seen = see(endpoint, "/alice/model")
    assert "My model" in seen.text
    assert "---" not in seen.text
    assert [seen.text.find(word) >= 0 for word in ("license", "mit", "a, b")] == [True] * 3
    assert seen.addresses("src") == ["/alice/model/resolve/main/images/a%20b.png"]
    links = seen.addresses("href")
    assert {"/alice/model/blob/main/docs/more.md#part", "#my-model", "https://example.com", "#"} <= set(links)
    assert ("h1", {"id": "my-model"}) in seen.elements
    picture = httpx2.get(f"{endpoint}{seen.addresses('src')[0]}")
    assert picture.status_code == 302
    policy = httpx2.get(f"{endpoint}/alice/model").headers["Content-Security-Policy"]
    assert picture.headers["Location"].split("/objects/")[0] in policy.split("img-src")[1].split(";")[0]


def test_nothing_of_a_hostile_card_becomes_active(endpoint: str, push: Push, api: HfApi) -> None:
    push({"README.md": HOSTILE.encode(), 'a"><script>alert(1)<.txt': b"<script>alert(1)</script>"}, message="<b>x</b>")
    seen = see(endpoint, "/alice/model")
    assert seen.text.count("alert(") > 15, "it is all there, as text"
    push({"a.txt": b"<img src=x onerror=alert(1)>\n"}, message="<script>alert(1)</script>", create_pr=True)
    api.comment_discussion("alice/model", 1, comment=HOSTILE)
    api.rename_discussion("alice/model", 1, new_title="<img src=x onerror=alert(1)>")
    api.create_collection("<script>alert(1)</script>", namespace="alice", description="<b onclick=x>")
    statuses = walk(endpoint)
    assert {path for path in statuses if "script" in path} >= {
        path for path in statuses if path.startswith("/alice/model/blob") and "3E" in path
    }
    for part in ("/alice/model/discussions/1", "/alice/model/commits/main", "/alice/model/tree/main", "/collections/"):
        assert [status for path, status in statuses.items() if path.startswith(part)][:1] == [200], part


def test_a_file_in_html_is_no_page_of_the_hub(endpoint: str, push: Push) -> None:
    push({"evil.html": b"<script>alert(document.domain)</script>", "evil.svg": b"<svg onload='alert(1)'/>"})
    for name in ("evil.html", "evil.svg"):
        headers = httpx2.get(f"{endpoint}/alice/model/resolve/main/{name}").headers
        assert headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_every_link_of_every_page_leads_somewhere(endpoint: str, push: Push, api: HfApi) -> None:
    push({"README.md": b"# Hi\n[files](a/)", "a/b.txt": b"1\n", "a/c d.bin": b"\0", "a/#?%.txt": b"odd"})
    push({"a/b.txt": b"2\n"}, message="Change b")
    push({"a/new.txt": b"new\n"}, message="Add new", create_pr=True)
    push({"e.txt": b"e"}, create_pr=True)
    api.merge_pull_request("alice/model", 2)
    api.create_discussion("alice/model", title="A question", description="**Why?** [x](README.md)")
    api.change_discussion_status("alice/model", 3, new_status="closed", comment="So.")
    api.create_branch("alice/model", branch="feature/x")
    api.create_tag("alice/model", tag="v1.0")
    api.create_repo("alice/prompts", repo_type="dataset")
    api.create_repo("alice/demo", repo_type="space", space_sdk="gradio")
    slug = api.create_collection("Mine", namespace="alice").slug
    api.add_collection_item(slug, "alice/model", "model", note="small")
    api.add_collection_item(slug, "alice/prompts", "dataset")

    statuses = walk(endpoint)
    assert {path: status for path, status in statuses.items() if status not in {200, 302, 303, 307}} == {}
    for path in (
        "/datasets/alice/prompts",
        "/spaces/alice/demo",
        f"/collections/{slug}",
        "/alice/model/tree/feature%2Fx",
        "/alice/model/commits/v1.0",
        "/alice/model/discussions/3",
        "/alice/model/tree/refs%2Fpr%2F1",
        "/alice/model/blob/main/a/%23%3F%25.txt",
    ):
        assert statuses[path] == 200, path


def test_a_commit_and_a_pull_request_show_what_they_change(endpoint: str, push: Push, api: HfApi) -> None:
    push({"a.txt": b"one\ntwo\n", "gone.txt": b"x"})
    made = push({"a.txt": b"one\n2\n", "big.bin": b"\0" * 2000})
    shown = see(endpoint, f"/alice/model/commit/{made.oid}").text
    assert "-two" in shown
    assert "+2" in shown
    assert "2.0 kB" in shown
    push({"a.txt": b"three\n"}, create_pr=True, message="Make it three")
    push({"other.txt": b"meanwhile"})
    before = see(endpoint, "/alice/model/discussions/1").text
    api.merge_pull_request("alice/model", 1)
    after = see(endpoint, "/alice/model/discussions/1").text
    for text in (before, after):
        assert "+three" in text
        assert "meanwhile" not in text
    assert "open" in before
    assert "merged as" in after


def test_pages_exist_for_what_the_client_calls_their_address(endpoint: str, push: Push) -> None:
    made = push({"a.txt": b"a"}, create_pr=True)
    for address in (made.commit_url, made.pr_url, str(made.repo_url)):
        assert httpx2.get(address).status_code == 200, address


@pytest.fixture
def closed(root: Path) -> Iterator[str]:
    """A Hub with tokens, a private and a gated repository."""
    with running(root, tokens=TOKENS) as endpoint:
        api = HfApi(endpoint=endpoint, token="hf_alice")
        for name in ("open", "gated"):
            api.create_repo(f"alice/{name}")
        api.create_repo("alice/hidden", private=True)
        for name in ("open", "gated", "hidden"):
            files = {"README.md": b"# Card", "secret.txt": b"contents\n"}
            operations = [CommitOperationAdd(path, content) for path, content in files.items()]
            api.create_commit(f"alice/{name}", operations, commit_message="Fill")
        api.update_repo_settings("alice/gated", gated="auto")
        yield endpoint


def basic(token: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'anyone:{token}'.encode()).decode()}"}


def test_without_a_token_only_what_is_public_is_shown(closed: str) -> None:
    assert "alice/open" in see(closed, "/").text
    assert not [path for path in walk(closed) if "hidden" in path]
    for path in (
        "",
        "/tree/main",
        "/commits/main",
        "/discussions",
        "/blob/main/secret.txt",
        "/resolve/main/secret.txt",
    ):
        answer = httpx2.get(f"{closed}/alice/hidden{path}")
        assert (answer.status_code, answer.headers["X-Error-Code"]) == (404, "RepoNotFound"), path
        assert "contents" not in answer.text


def test_a_browser_logs_in_with_a_token_as_password_for_pages_and_files_alone(closed: str) -> None:
    asked = httpx2.get(f"{closed}/login")
    assert asked.status_code == 401
    assert asked.headers["WWW-Authenticate"].startswith("Basic ")
    assert httpx2.get(f"{closed}/login", headers=basic("hf_alice")).status_code == 303
    wrong = httpx2.get(f"{closed}/", headers=basic("hf_wrong"))
    assert (wrong.status_code, "WWW-Authenticate" in wrong.headers) == (401, True)
    for path in ("/alice/hidden", "/alice/hidden/blob/main/secret.txt", "/alice/hidden/resolve/main/secret.txt"):
        shown = httpx2.get(f"{closed}{path}", headers=basic("hf_alice"), follow_redirects=True)
        assert shown.status_code == 200, path
        assert httpx2.get(f"{closed}{path}", headers=basic("hf_bob")).status_code == 404, path
    assert "alice/hidden" in httpx2.get(f"{closed}/", headers=basic("hf_alice")).text
    for path in ("/api/models/alice/hidden", "/api/whoami-v2"):
        assert httpx2.get(f"{closed}{path}", headers=basic("hf_alice")).status_code == 401
    deleting = {"name": "open", "organization": "alice"}
    refused = httpx2.request("DELETE", f"{closed}/api/repos/delete", headers=basic("hf_alice"), json=deleting)
    assert refused.status_code == 401, "what a browser sends by itself changes nothing"


def test_pages_of_a_gated_repository_do_not_show_what_is_in_its_files(closed: str) -> None:
    head = HfApi(endpoint=closed, token="hf_alice").model_info("alice/gated").sha
    for path in ("", "/tree/main", "/blob/main/secret.txt", f"/commit/{head}", "/commits/main"):
        assert "contents" not in see(closed, f"/alice/gated{path}").text, path
        shown = httpx2.get(f"{closed}/alice/gated{path}", headers=basic("hf_alice"))
        assert ("contents" in shown.text) == ("blob" in path or "/commit/" in path)


def test_what_is_not_there_is_a_page_and_not_the_clients_business(endpoint: str, api: HfApi, repo: str) -> None:
    for path in ("/alice/none", "/alice/model/tree/none", "/alice/model/tree/main/none", "/alice/model/discussions/7"):
        answer = httpx2.get(f"{endpoint}{path}")
        assert answer.status_code == 404
        assert_passive(answer)
    for path in (f"/alice/model/discussions/{'9' * 5000}", "/alice/model/commits/main?after=" + "9" * 5000):
        assert httpx2.get(f"{endpoint}{path}").status_code in {200, 404}
    for path in ("/api/nothing", "/api/models/x/y", "/oauth/token", "/api/none/of/these"):
        assert "json" in httpx2.get(f"{endpoint}{path}").headers["Content-Type"], path


@pytest.mark.parametrize(
    "text",
    ["![" * 60_000, "*a_ " * 30_000, "|\n" * 60_000],
    ids=["images", "emphasis", "table"],
)
def test_a_card_made_to_take_long_does_not(endpoint: str, push: Push, text: str) -> None:
    push({"README.md": text.encode()})
    started = time.monotonic()
    assert httpx2.get(f"{endpoint}/alice/model", timeout=60).status_code == 200
    assert time.monotonic() - started < 10
