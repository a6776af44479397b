"""A site's page tries what was published: it loads nothing until it is asked to, then answers as the source does."""

from __future__ import annotations

import hashlib
import html
import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import HfApi
from playwright.sync_api import Page

from localhub.server import running
from pipeline.fleet.needs import Needs
from pipeline.fleet.site import Listed, Target, write_site
from pipeline.fleet.site.catalog import Published
from pipeline.fleet.site.trial import lets_in
from pipeline.hub.withdrawn import Withdrawal
from pipeline.recipe import Prompt
from pipeline.validate.browser.driving import visited
from pipeline.validate.browser.scripts import LOADED, NETWORK
from pipeline.validate.browser.serving import script_folders, served
from tests.browser.conftest import WORDS
from tests.cards.conftest import recorded
from tests.page.catalog import listed
from tests.page.conftest import report

REPO = "alice/tiny-bert-onnx"
USE = {"kind": "browser", "name": "", "verdict": "PASS", "text": "It answers.", "numbers": {}}


@dataclass(frozen=True)
class Site:
    """A catalog with one target that is tried, and the Hub that has it."""

    folder: Path
    hub: str
    listed: Listed
    published: Published

    @property
    def page(self) -> Path:
        return self.folder / "try" / f"{self.published.plan.repository}.html"


@pytest.fixture(scope="module")
def site(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder, of = tmp_path_factory.mktemp("site"), recorded()[0]
    prompts = tuple(Prompt(prompt=word) for word in WORDS)
    validation = of.validation.model_copy(update={"prompts": prompts, "call": {}})
    plan = of.model_copy(update={"task": "feature-extraction", "repository": REPO, "validation": validation})
    with running(tmp_path_factory.mktemp("hub")) as hub:
        api = HfApi(endpoint=hub, token=False)
        api.create_repo(REPO)
        commit = api.upload_folder(repo_id=REPO, folder_path=published).oid
        needs = Needs(REPO, commit, False, {}, {"onnx/model.onnx": 9_876_543}, plan=plan)
        found = Published(plan, needs, report(uses=[USE | {"settings": {"dtype": "fp32"}}]), "v1", changed=False)
        listing = replace(listed("minilm"), targets=[Target("one", REPO, {}, found)])
        write_site([listing], hub, folder)
        yield Site(folder, hub, listing, found)


@pytest.fixture
def visitor(site: Site, scripts: Path) -> Iterator[Page]:
    """A page of the site's. What it loads of the content network has an address here; the driver takes long for it."""
    documents: dict[str, bytes] = {}
    with served(documents, script_folders(scripts)) as address:
        for file in site.folder.rglob("*.html"):
            text = file.read_text().replace(NETWORK, f"{address}npm/")
            documents[f"pages/{file.relative_to(site.folder).as_posix()}"] = text.encode()
        with visited(address, {}) as (_, page):
            page.route("http://127.0.0.1:*/**", lambda route: route.continue_())  # the Hub, and its store
            page.set_default_timeout(60_000)
            page.goto(f"{address}pages/index.html")
            yield page


def likeness(model: Path, one: str, other: str) -> float:
    """Return the cosine similarity of two texts by the source itself."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, embedder = AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model)
    with torch.no_grad():
        states = [embedder(**tokenizer(text, return_tensors="pt")).last_hidden_state[0] for text in (one, other)]
    own, others = (np.asarray(state.mean(0)) for state in states)
    return float(own @ others / np.linalg.norm(own) / np.linalg.norm(others))


def test_a_visitor_loads_nothing_before_the_button_and_then_gets_the_answer_of_the_source(
    site: Site, visitor: Page, embedder: Path
) -> None:
    asked: list[str] = []
    visitor.on("request", lambda request: asked.append(request.url))
    visitor.get_by_role("link", name="Try it here").click()
    visitor.wait_for_load_state("networkidle")
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [visitor.url]
    button = visitor.get_by_role("button")
    assert button.inner_text() == "Load 37.4 MB and answer"
    visitor.get_by_label("A text").fill("an owl in a barn")
    visitor.get_by_label("Another").fill("<b>a clock</b>")
    button.click()
    visitor.get_by_role("button", name="Answer", exact=True).wait_for()
    wanted = likeness(embedder, "an owl in a barn", "<b>a clock</b>")
    assert visitor.locator("#answer").inner_text() == f"Cosine similarity {wanted:.4f}, of 64 dimensions"
    assert f"/{REPO}/resolve/main/" not in "".join(asked)
    loaded = [url.partition("/npm/")[2] for url in asked if "/npm/" in url]
    assert sorted(loaded) == sorted(script.address.removeprefix(NETWORK) for script in LOADED.values())


def test_a_script_that_is_another_than_the_pinned_one_does_not_run(visitor: Page) -> None:
    visitor.route("**/transformers.min.js", lambda route: route.fulfill(body="export const env = {}"))
    visitor.get_by_role("link", name="Try it here").click()
    visitor.get_by_role("button").click()
    visitor.get_by_text("It did not answer:").wait_for()
    assert visitor.locator("#answer").inner_text() == ""


def test_the_pinned_scripts_are_those_that_a_verdict_is_given_with(scripts: Path) -> None:
    for script in LOADED.values():
        content = (scripts / script.address.removeprefix(NETWORK)).read_bytes()
        assert script.integrity == f"sha384-{b64encode(hashlib.sha384(content).digest()).decode()}"
        assert script.size == len(content)


def test_a_page_may_read_one_commit_and_run_nothing_else(site: Site) -> None:
    text = site.page.read_text()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    directives = dict(one.split(" ", 1) for one in html.unescape(policy).split("; "))
    commit = f"{site.hub}/{REPO}/resolve/{site.published.needs.commit}/"
    assert directives["connect-src"].split() == [
        "blob:",
        *(script.address for script in LOADED.values()),
        commit,
        "http:",
    ]
    hashed, *others = directives["script-src"].split()
    assert hashed.startswith("'sha256-")
    assert others == ["blob:", "'wasm-unsafe-eval'"]
    assert lets_in("https://huggingface.co/a/b/resolve/c/", "https://huggingface.co")["connect-src"].endswith(
        " https://huggingface.co/a/b/resolve/c/ https://*.hf.co"
    )


@pytest.mark.parametrize(
    ("address", "changes"),
    [
        ("", {}),  # a Hub that has another address each time
        ("https://hub.example", {"report": report()}),  # no browser answered with it
        ("https://hub.example", {"needs": {"withdrawn": Withdrawal(commit="0" * 40, plan="", why="It draws fours.")}}),
    ],
)
def test_what_cannot_be_tried_has_no_page(site: Site, address: str, changes: dict[str, Any], tmp_path: Path) -> None:
    found = site.published
    found = replace(
        found, needs=replace(found.needs, **changes.get("needs", {})), report=changes.get("report", found.report)
    )
    target = Target("one", found.plan.repository, {}, found)
    write_site([replace(site.listed, targets=[target])], address, tmp_path)
    assert not (tmp_path / "try").exists()
    assert "Try it here" not in (tmp_path / "index.html").read_text()
