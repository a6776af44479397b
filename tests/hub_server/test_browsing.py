"""People see in a browser what a repository holds, and nothing that it contains becomes active there."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2
from huggingface_hub import HfApi

from localhub.server import running

Push = Callable[..., Any]
VOID = {"meta", "br", "img", "hr", "base"}
TOKENS = {"hf_alice": {"name": "alice", "role": "write"}}
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
        assert tag not in {"script", "iframe", "object", "embed", "svg", "form", "input", "link", "b"}
        assert not [name for name in attributes if name.startswith("on") or name == "style"], attributes
    for address in seen.addresses("href") + seen.addresses("src"):
        assert urlsplit(address).scheme in {"", "http", "https", "mailto"}, address
        assert address == address.strip()
    return seen


def see(endpoint: str, path: str) -> Seen:
    answer = httpx2.get(f"{endpoint}{path}")
    assert answer.status_code == 200, answer.text
    return assert_passive(answer)


def test_a_card_is_shown_with_its_metadata_links_and_pictures(endpoint: str, push: Push, api: HfApi) -> None:
    card = """---
license: mit
---
# My model

![picture](<images/a b.png>) [more](docs/more.md#part) [away](https://example.com)

| size | 1 |
| --- | --- |
"""
    push({"README.md": card.encode(), "images/a b.png": b"\x89PNG\0", "docs/more.md": b"x", "a/#?%.txt": b"odd"})
    api.create_branch("alice/model", branch="feature/x")
    for path, revision in (("/alice/model", "main"), ("/models/alice/model/tree/feature%2Fx", "feature%2Fx")):
        seen = see(endpoint, path)
        assert "My model" in seen.text
        assert "---" not in seen.text
        assert "license: mit" in seen.text
        assert "images/a b.png" in seen.text, "the files are listed below the card"
        base = f"{endpoint}/alice/model/resolve/{revision}/"
        addresses = [urljoin(base, address) for address in seen.addresses("href") + seen.addresses("src")]
        assert {f"{base}docs/more.md#part", f"{base}images/a%20b.png", "https://example.com"} <= set(addresses)
        inside = [address for address in addresses if address.startswith(base) and address != base]
        assert {httpx2.get(address).status_code for address in inside} == {302, 307}
    picture = httpx2.get(f"{base}images/a%20b.png")
    policy = httpx2.get(f"{endpoint}/alice/model").headers["Content-Security-Policy"]
    assert picture.headers["Location"].split("/objects/")[0] in policy.split("img-src")[1].split(";")[0]


def test_a_file_in_html_is_no_page_of_the_hub(endpoint: str, push: Push) -> None:
    push({"evil.html": b"<script>alert(document.domain)</script>", "evil.svg": b"<svg onload='alert(1)'/>"})
    for name in ("evil.html", "evil.svg"):
        headers = httpx2.get(f"{endpoint}/alice/model/resolve/main/{name}").headers
        assert headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
        assert headers["X-Content-Type-Options"] == "nosniff"
    for place in ("resolve", "blob"):
        shown = httpx2.get(f"{endpoint}/alice/model/{place}/main/evil.html", follow_redirects=True)
        assert (shown.status_code, shown.text) == (200, "<script>alert(document.domain)</script>")
        assert shown.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert shown.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"


def test_nothing_of_a_hostile_card_becomes_active(endpoint: str, push: Push) -> None:
    push({"README.md": HOSTILE.encode(), 'a"><script>alert(1)<.txt': b"<script>alert(1)</script>"})
    assert see(endpoint, "/alice/model").text.count("alert(") > 15, "it is all there, as text"


def test_what_is_private_has_no_page(root: Path) -> None:
    with running(root, tokens=TOKENS) as endpoint:
        HfApi(endpoint=endpoint, token="hf_alice").create_repo("alice/hidden", private=True)
        for path in ("/alice/hidden", "/alice/hidden/tree/main", "/alice/none"):
            answer = httpx2.get(f"{endpoint}{path}")
            assert (answer.status_code, answer.headers["X-Error-Code"]) == (404, "RepoNotFound"), path
