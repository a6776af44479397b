"""``publish report --site`` writes what the Hub has of recipes, and of what it has not that it is to come."""

from __future__ import annotations

from pathlib import Path

from localhub.faults import Faults
from pipeline.hub.client import Hub
from pipeline.release.yank import yank
from tests.desk import Desk

ONE, TWO = "alice/tiny-one", "alice/tiny-two"


def files(site: Path) -> dict[str, bytes]:
    return {path.relative_to(site).as_posix(): path.read_bytes() for path in site.rglob("*") if path.is_file()}


def test_a_recipe_is_listed_with_what_is_published_of_it(desk: Desk, hub: Hub) -> None:
    site, recipe = desk.folder / "site", desk.folder / "recipe.yaml"
    done = desk.publish("--json", "report", recipe, "--site", site, python=("-X", "importtime"))
    assert done.code == 0, done.err
    assert " torch\n" not in done.err
    assert done.lines[-1] == {
        "site": str(site / "index.html"),
        "targets": [
            {"recipe": str(recipe), "target": "one", "repository": ONE, "state": "published"},
            {"recipe": str(recipe), "target": "two", "repository": TWO, "state": "not published yet"},
        ],
    }
    made = files(site)
    assert made.keys() == {"index.html", "alice/tiny-one.html"}
    index = made["index.html"].decode()
    assert f'<a href="{desk.shelf.endpoint}/{ONE}">{ONE}</a>' in index
    assert f">{TWO}</a>" not in index
    assert ", license apache-2.0." in index
    assert b"<title>PASS: one \xc2\xb7 alice/tiny-one</title>" in made["alice/tiny-one.html"]
    desk.token = ""  # as anybody sees it
    assert desk.publish("report", recipe, "--site", site).code == 0
    assert files(site) == made
    yank(hub, ONE, "v1", "It draws fours.")
    again = desk.publish("report", recipe, "--site", site)
    assert again.out.splitlines()[:2] == [f"{'withdrawn':18} {ONE}", f"{'not published yet':18} {TWO}"]
    assert b"It draws fours." in files(site)["index.html"]


def test_a_changed_recipe_is_told_and_what_cannot_be_read_hides_no_other(desk: Desk, faults: Faults) -> None:
    recipe, site = desk.recipe(require={"size_ratio": {"max": 1.9}}), desk.folder / "site"
    faults.rules = Faults([f"GET /api/models/{TWO}/ status=403 times=always"]).rules
    alone = desk.publish("report", recipe, "--site", site)
    assert alone.code == 0, alone.err
    assert b"the recipe has changed since" in files(site)["index.html"]
    both = desk.recipe({"one": TORCHAO, "two": TORCHAO})
    done = desk.publish("report", both, "--site", site)
    assert done.code == 3
    assert TWO in done.error
    assert b"could not be read" in files(site)["index.html"]
    assert b"the recipe has changed since" not in files(site)["index.html"]


TORCHAO = {"transformer": {"backend": "torchao", "scheme": "int8-weight-only"}}


def test_the_command_line_says_what_a_catalog_and_what_a_page_is_of(desk: Desk) -> None:
    recipe = desk.folder / "recipe.yaml"
    for words, told in (
        ((), "Pages are of one recipe, not of 0. Name one, or write a catalog of several with --site DIR."),
        ((recipe, recipe), "Pages are of one recipe, not of 2."),
        ((recipe, "--site", "a", "--target", "one"), "A catalog has every target, in its own folder."),
        ((recipe, "--site", "a", "--out", "b"), "Leave out --target and --out."),
        (("--site", "a"), "There are no recipes."),
    ):
        done = desk.publish("report", *words)
        assert done.code == 2
        assert told in done.error
    assert not (desk.folder / "a").exists()
