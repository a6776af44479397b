"""What people paste, export and lack when they begin: an answer within seconds, its exit code, and what to do next."""

from __future__ import annotations

import shutil
from pathlib import Path
from socket import socket

import pytest

from pipeline.errors import RecipeError
from pipeline.recipe.addresses import read_name, read_path
from tests.desk import REPO, Desk

SCHEME = ("--backend", "torchao", "--scheme", "int8-weight-only")
HUB = "https://hub.example:8443"
AS_IN = "Write it as in https://huggingface.co."
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "revision"),
    [
        ("acme/tiny", None),
        ("acme/tiny@main", "main"),
        ("https://huggingface.co/acme/tiny", None),
        ("https://huggingface.co/acme/tiny/", None),
        ("http://hf.co/acme/tiny?library=diffusers#use", None),
        ("https://user:secret@huggingface.co/acme/tiny.git", None),
        ("HTTPS://HUGGINGFACE.CO/acme/tiny/tree/main/transformer", "main"),
        (f"https://huggingface.co/acme/tiny/blob/{COMMIT}/model_index.json", COMMIT),
        (f"https://huggingface.co/acme/tiny/commit/{COMMIT}", COMMIT),
        ("https://huggingface.co/acme/tiny/tree/refs%2Fpr%2F4", "refs/pr/4"),
        ("https://huggingface.co/acme/tiny/tree/refs/pr/4/vae", "refs/pr/4"),
        ("https://huggingface.co/models/acme/tiny", None),
        (f"{HUB}/acme/tiny/resolve/v1/x.safetensors", "v1"),
        ("hf://acme/tiny", None),
        ("hf://acme/tiny@v1/vae", "v1"),
        ("hf://models/acme/tiny", None),
        ("acme/tiny@refs/pr/4", "refs/pr/4"),
    ],
)
def test_a_repository_is_understood_as_it_is_pasted(text: str, revision: str | None) -> None:
    assert read_name(text, None, HUB) == ("acme/tiny", revision)
    assert read_name(text, revision or "v2", HUB) == ("acme/tiny", revision or "v2")


@pytest.mark.parametrize(
    ("text", "repo", "path"),
    [
        ("acme/tiny", "acme/tiny", ""),
        ("acme/tiny/", "acme/tiny", ""),
        ("acme/tiny/transformer/x.gguf", "acme/tiny", "transformer/x.gguf"),
        ("acme/tiny@v1/x.gguf", "acme/tiny@v1/x.gguf", "x.gguf"),
        ("hf://acme/tiny/vae", "hf://acme/tiny/vae", "vae"),
        ("hf://acme/tiny@refs/pr/4/vae/", "hf://acme/tiny@refs/pr/4/vae/", "vae"),
        (f"{HUB}/acme/tiny/blob/main/a%20b.gguf", f"{HUB}/acme/tiny/blob/main/a%20b.gguf", "a b.gguf"),
        (f"{HUB}/acme/tiny/tree/main", f"{HUB}/acme/tiny/tree/main", ""),
    ],
)
def test_what_follows_a_repository_is_a_path_in_it(text: str, repo: str, path: str) -> None:
    assert read_path(text) == (repo, path)
    assert read_name(repo, None, HUB)[0] == "acme/tiny"


@pytest.mark.parametrize(
    ("text", "revision", "told"),
    [
        ("https://elsewhere.example/acme/tiny", None, "Set HF_ENDPOINT"),
        ("https://huggingface.co/datasets/acme/tiny", None, "datasets, not a model"),
        ("hf://spaces/acme/tiny", None, "spaces, not a model"),
        ("https://huggingface.co/", None, "neither a folder that is there nor a repository"),
        ("acme/tiny/", None, "neither a folder"),
        ("acme/tiny/transformer", None, "neither a folder"),
        ("a b", None, "neither a folder"),
        ("http://[::1", None, "neither a folder"),
        ("acme/\udcff", None, "neither a folder"),
        ("", None, "neither a folder"),
        ("acme/tiny@v1", "v2", "Two revisions are named, v1 and v2. Name one."),
    ],
)
def test_what_names_no_model_here_is_refused(text: str, revision: str | None, told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_name(text, revision, HUB)
    assert told in str(caught.value)


def test_the_command_takes_an_address_of_its_hub_and_any_name_of_the_public_one(desk: Desk) -> None:
    commit = desk.shelf.commit
    for text in (f"{desk.shelf.endpoint}/{REPO}/blob/{commit}/README.md", f"https://huggingface.co/{REPO}@{commit}"):
        done = desk.publish("quantize", text, "--out", "out", *SCHEME, "--component", "none")
        assert done.code == 2
        assert done.error.startswith(f"error: {REPO}@{commit[:12]}: The source has no component 'none'.")
    assert desk.publish("verify", f"{REPO}@{commit}", "--no-load").code == 10  # found, and no release


def test_the_word_for_the_embedded_hub_is_proposed_to_who_mistyped_it(desk: Desk) -> None:
    done = desk.publish("plan", desk.recipe(), "--hub", "lokal")
    assert done.code == 2
    assert done.error.endswith("no address of a Hub. Did you mean local?")


@pytest.mark.parametrize(
    ("given", "arguments", "code", "likely"),
    [
        ("huggingface.co", (), 3, "https://huggingface.co"),
        ("localhost:8000", (), 3, "http://localhost:8000"),
        ("http://127.0.0.1:9", ("--hub", "127.0.0.1:9"), 2, "http://127.0.0.1:9"),
        ("http://127.0.0.1:9", ("--hub", "mirror"), 2, "https://mirror"),
    ],
)
def test_an_address_without_its_scheme_is_shown_with_it(
    desk: Desk, given: str, arguments: tuple[str, ...], code: int, likely: str
) -> None:
    desk.extra["HF_ENDPOINT"] = given
    done = desk.publish("plan", desk.recipe(), *arguments)
    assert done.code == code
    assert done.error.endswith(f"no address of a Hub. Write it with its scheme: {likely}.")


@pytest.mark.parametrize(
    "broken", ["http://[::1", pytest.param("https://hub.example:99999", marks=pytest.mark.nightly)]
)
def test_an_address_that_is_broken_is_refused_wherever_it_stands(desk: Desk, broken: str) -> None:
    done = desk.publish("verify", REPO, "--hub", broken)
    assert done.code == 2
    assert done.error == f"error: --hub is '{broken}', which is no address of a Hub. {AS_IN}"
    desk.extra["HF_ENDPOINT"] = broken
    for arguments in (
        ("verify", REPO),
        ("quantize", REPO, "--out", "out", *SCHEME),
        ("yank", REPO, "v1", "--why", "x", "--hub", "local"),
    ):
        done = desk.publish(*arguments)
        assert done.code == 3
        assert done.error == f"error: HF_ENDPOINT is '{broken}', which is no address of a Hub. {AS_IN}"


@pytest.mark.parametrize("verb", ["plan", "quantize", "verify", "status", "yank", "run"])
def test_what_needs_a_hub_says_at_once_that_none_may_be_asked(desk: Desk, verb: str) -> None:
    desk.extra["HF_HUB_OFFLINE"] = "1"
    recipe = desk.recipe()
    arguments = {
        "quantize": (REPO, "--out", "out", *SCHEME),
        "verify": (REPO,),
        "yank": (REPO, "v1", "--why", "x"),
    }.get(verb, (recipe,))
    done = desk.publish(verb, *arguments)
    assert done.code == 3
    assert "HF_HUB_OFFLINE is set, and this asks a Hub" in done.err + done.out


@pytest.mark.parametrize(("lack", "made"), [("offline", ["quantize"]), ("no network", [])])
def test_a_folder_needs_no_hub_until_it_is_released(desk: Desk, source: Path, lack: str, made: list[str]) -> None:
    desk.extra = {"HF_HUB_OFFLINE": "1"} if lack == "offline" else {"HF_ENDPOINT": "http://127.0.0.1:9"}
    recipe = desk.recipe(source={"path": str(source)})
    for arguments in (("plan", recipe), *(("run", recipe, "--stop-after", stage) for stage in made)):
        done = desk.publish(*arguments)
        assert done.code == 0, done.err
        assert "goes on without the Hub, so what is published of it is unknown" in done.err
    assert desk.publish("check", recipe).code == 0


def test_a_hub_that_cannot_be_reached_is_not_waited_for_as_one_that_is_busy(desk: Desk) -> None:
    with socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and nobody listens there
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        desk.extra["HF_ENDPOINT"] = address
        done = desk.publish("run", desk.recipe())
    assert done.code == 9, done.err
    assert done.error.startswith(f"error: {address}: 127.0.0.1 cannot be reached (")
    assert "HF_ENDPOINT with `publish doctor`" in done.error
    told = desk.publish("doctor", desk.recipe())
    assert "127.0.0.1 cannot be reached" in told.err + told.out
    assert "`--hub local` is the Hub that is embedded here" in told.err + told.out


def test_what_is_no_text_is_told_in_any_locale(desk: Desk, source: Path) -> None:
    desk.extra["PYTHONIOENCODING"] = "ascii"
    for name, shown in (("\u2603.yaml", "\\u2603.yaml"), ("\udcff.yaml", "\\udcff.yaml")):
        done = desk.publish("--json", "check", name)
        assert done.code == 2
        place = {"file": name, "line": 0, "column": 0, "end_column": 0}
        assert done.lines == [{"problems": [{**place, "text": "there is no such file", "suggestion": None}]}], shown
        assert shown in desk.publish("check", name).out
    folder = desk.folder / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "\udcff.json").write_text("{}")
    done = desk.publish("quantize", folder, "--out", "out", *SCHEME)
    assert done.code == 4
    assert r"The file name '\udcff.json'" in done.error


def test_a_home_or_a_model_whose_path_is_no_text_is_refused_and_a_recipe_is_not(desk: Desk, source: Path) -> None:
    folder = desk.folder / "\udcff"
    folder.mkdir()
    recipe = desk.recipe(source={"path": "model"}).rename(folder / "recipe.yaml")
    shutil.copy(desk.folder / "prompts.jsonl", folder)
    shutil.copytree(source, folder / "model")
    assert desk.publish("check", recipe).code == 0
    planned = desk.publish("plan", recipe)
    assert (planned.code, desk.plain(planned.error)) == (
        3,
        "FOLDER/\\udcff/model: This path is not UTF-8. Rename the folder, or those above it, or move it.",
    )
    home = desk.publish("--home", desk.folder / "\udcfe", "plan", desk.recipe())
    assert (home.code, desk.plain(home.error)) == (
        3,
        "FOLDER/\\udcfe: This path is not UTF-8. Name another home with --home or PUBLISH_HOME.",
    )
    for verb, option in (("run", ("--stop-after", "card", "--seal")), ("release", ("--sealed",))):
        sealed = desk.publish(verb, desk.recipe(), *option, desk.folder / "\udcfd")
        assert (sealed.code, "\\udcfd: This path is not UTF-8." in sealed.error) == (3, True)


def test_half_a_character_is_no_prompt(desk: Desk) -> None:
    recipe = desk.recipe()
    (desk.folder / "prompts.jsonl").write_text('{"prompt": "a \\ud800"}\n')
    done = desk.publish("check", recipe)
    assert done.code == 2
    assert "line 1: half a character" in done.out
