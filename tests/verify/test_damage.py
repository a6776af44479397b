"""Whatever is not what was published is found, and named, wherever it is and whoever changed it."""

from __future__ import annotations

import io
import json
import random
import shutil
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from pipeline.card.provenance import state
from pipeline.errors import VerificationError
from pipeline.files import Manifest
from pipeline.hub.client import Hub
from pipeline.hub.release_files import PLAN, PROVENANCE, REPORT
from pipeline.release.card_again import require_same
from pipeline.release.documents import Documents
from pipeline.release.signing import Expected
from pipeline.release.yank import yank
from pipeline.verify.verification import Wanted
from tests.desk import needs_xet
from tests.verify.conftest import REPO, VOCABULARY, Consumer

WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


def test_a_flipped_bit_is_found_in_every_file(consumer: Consumer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # a chunk's address does not tell whose it is
    tree = consumer.hub.tree("alice/tiny-one", "main")
    assert len(tree) > 20
    for name, listed in tree.items():
        small, large = f"/resolve-cache/.*/{name}[?]", f"/objects/.*{listed.sha256 or 'none'}"
        consumer.faults.rules = [f"GET {path} flip times=always" for path in (small, large)]
        assert f"{name} has the SHA-" in consumer.refusal(), name
        consumer.faults.rules = []
    assert consumer.verify()[1] is None


@needs_xet
def test_a_flipped_bit_is_found_in_every_chunk(consumer: Consumer) -> None:
    chunks = sum(1 for seen in consumer.faults.seen if "/xorbs/" in seen.path)
    assert consumer.verify()[1] is None
    chunks = sum(1 for seen in consumer.faults.seen if "/xorbs/" in seen.path) - chunks
    assert chunks >= 2
    for number in range(chunks):
        consumer.faults.rules = [f"GET /xorbs/ flip skip={number}"]
        assert " has the SHA-256 " in consumer.refusal()


def test_the_command_ends_with_ten_and_names_the_first_difference(consumer: Consumer) -> None:
    consumer.change({"README.md": b"# Another\n", "zeta.json": b"{}"})
    done = consumer.publish("--json", "verify", "alice/tiny-one", "--no-load")
    assert done.code == 10
    result = next(line["result"] for line in done.lines if "result" in line)
    assert [check["state"] for check in result["checks"]] == ["passed", "passed", "failed"]
    assert "lists README.md with" in done.error
    assert "zeta.json" not in done.error


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"model_index.json": None}, "lists model_index.json with"),
        ({"transformer/extra.bin": b"new"}, "does not list transformer/extra.bin, which would change what"),
        ({"publish/plan.json": b"{}"}, "lists publish/plan.json with"),
        ({"publish/manifest.json": b"{"}, "publish/manifest.json cannot be read"),
        ({"publish/manifest.json": None}, "It has no publish/manifest.json"),
        ({"publish/manifest.json": b'{"files": {}}'}, "does not list publish/plan.json"),
    ],
)
def test_a_commit_over_the_release_is_found(consumer: Consumer, files: dict[str, bytes | None], told: str) -> None:
    consumer.change(files)
    assert told in consumer.refusal()


def test_what_somebody_put_beside_the_release_is_named_and_neither_read_nor_loaded(consumer: Consumer) -> None:
    consumer.change({"tiny.Q4.gguf": b"GGUF", "style.bin": b"LoRA"})
    before = len(consumer.faults.seen)
    found, failure = consumer.verify()
    assert failure is None
    (check,) = [check for check in found.checks if check.name == "others"]
    assert (check.state, check.text) == ("note", "not covered: style.bin, tiny.Q4.gguf")
    assert not [seen for seen in consumer.faults.seen[before:] if seen.path.endswith((".gguf", "style.bin"))]


def test_a_change_that_the_manifest_follows_is_found_by_the_provenance(consumer: Consumer) -> None:
    consumer.change(consumer.listed({"images/worst.png": b"another"}))
    assert "publish/provenance.json states another files" in consumer.refusal()


def test_a_card_that_claims_other_numbers_than_the_report_is_found(consumer: Consumer) -> None:
    card = consumer.release["README.md"].decode()
    row = next(line for line in card.splitlines() if line.startswith("| psnr |"))
    better = row.replace(" dB", "9 dB", 1)
    consumer.change(consumer.listed({"README.md": card.replace(row, better).encode()}))
    line = card.splitlines().index(row) + 1
    assert f"README.md:{line} says '{better.split()[3]} dB" in consumer.refusal()
    assert f" where '{row.split()[3]} dB" in consumer.refusal()


def test_a_card_that_is_changed_beneath_the_notice_of_a_withdrawal_is_found(consumer: Consumer) -> None:
    yank(Hub(consumer.shelf.endpoint, token="alice"), REPO, "v1", "It draws sixes.", "acme/tiny")
    assert consumer.verify()[1] is None
    names = ("README.md", "publish/manifest.json")
    served = {name: consumer.hub.content(REPO, "main", name, 1 << 24) or b"" for name in names}
    card = served["README.md"].replace(b"was withdrawn by its publisher", b"was once withdrawn by its publisher")
    manifest = json.loads(served["publish/manifest.json"])
    manifest["files"]["README.md"] = {"size": len(card), "sha256": sha256(card).hexdigest()}
    consumer.change({"README.md": card, "publish/manifest.json": json.dumps(manifest).encode()})
    assert " says 'once withdrawn by its publisher" in consumer.refusal()


def test_a_card_in_the_words_of_another_version_is_not_judged_by_those_of_this_one(consumer: Consumer) -> None:
    plan = json.loads(consumer.release["publish/plan.json"])
    plan["template_digest"] = "0" * 64
    consumer.change(consumer.listed({"publish/plan.json": json.dumps(plan).encode()}))
    found, _ = consumer.verify()
    (check,) = [check for check in found.checks if check.name == "card"]
    assert (check.state, check.text.split(",")[0]) == (
        "not checked",
        f"it was written by quantpress {plan['versions']['quantpress']}",
    )


def test_a_change_that_all_documents_follow_is_found_by_the_signature(consumer: Consumer) -> None:
    statement = json.loads(consumer.release["publish/provenance.json"])
    statement["predicate"]["runDetails"]["metadata"] = {}
    consumer.change(consumer.listed({"publish/provenance.json": json.dumps(statement).encode()}))
    assert consumer.verify()[1] is None
    assert "publish/signature.json does not hold" in consumer.refusal(Wanted(signer=Expected(consumer.key), load=False))


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("publish/plan.json", '"seeds": [\n      3\n    ]', '"seeds": [\n      4\n    ]', "has seeds [4], and"),
        ("publish/plan.json", '"int8-weight-only"', '"float8-weight-only"', "has components"),
        ("publish/recipe.yaml", "int8-weight-only", "int8", "publish/recipe.yaml cannot be read"),
        ("publish/report.json", '"verdict": "PASS"', '"verdict": "FAIL"', "gives the verdict FAIL"),
        ("publish/report.json", '"weights"', '"weighed"', "publish/report.json cannot be read"),
    ],
)
def test_documents_that_contradict_each_other_are_found(
    consumer: Consumer, name: str, old: str, new: str, told: str
) -> None:
    text = consumer.release[name].decode()
    assert old in text
    consumer.change(consumer.listed({name: text.replace(old, new).encode()}))
    assert told in consumer.refusal()


def test_a_report_on_other_weights_is_found(consumer: Consumer) -> None:
    report = json.loads(consumer.release["publish/report.json"])
    report["weights"]["transformer"]["files"]["diffusion_pytorch_model.safetensors"]["sha256"] = "0" * 64
    consumer.change(consumer.listed({"publish/report.json": json.dumps(report).encode()}))
    assert f"measured another {WEIGHTS}" in consumer.refusal()


def test_unsafe_names_are_refused(consumer: Consumer) -> None:
    consumer.change({"readme.MD": b"# Another\n"})
    done = consumer.publish("verify", "alice/tiny-one", "--no-load")
    assert done.code == 4
    assert "one place on some disks" in done.error


def test_any_document_is_read_or_refused_in_a_paragraph(released: Path, tmp_path: Path) -> None:
    """Documents that somebody wrote to break a reader: one value replaced, or one key gone, anywhere in them."""
    chance = random.Random(4)
    for name in ("manifest.json", "plan.json", "report.json", "provenance.json"):
        content = (released / "release" / "publish" / name).read_bytes()
        for number in range(60):
            folder = tmp_path / f"{name}-{number}"
            shutil.copytree(released / "release" / "publish", folder / "publish")
            shutil.copy(released / "release" / "README.md", folder)
            (folder / "publish" / name).write_text(json.dumps(broken(json.loads(content), chance)))
            documents = Documents(folder, "a/b", VOCABULARY)
            with suppress(VerificationError):
                documents.recipe_fits("a/b")
            with suppress(VerificationError):
                documents.report_fits()
            with suppress(VerificationError):
                documents.provenance_fits()
            with suppress(VerificationError):
                require_same(documents, "")


def broken(value: Any, chance: random.Random) -> Any:
    """Return JSON with one place of it changed."""
    places = [(value, key) for key in value]
    for container, key in places:
        inside = container[key]
        if isinstance(inside, dict | list):
            places += [(inside, each) for each in (inside if isinstance(inside, dict) else range(len(inside)))]
    container, key = chance.choice(places)
    if isinstance(container, dict) and chance.random() < 0.3:
        del container[key]
    else:
        container[key] = chance.choice([None, -1, 1e300, "", "\x1b[31m", [], {}, [[1]], {"a": {}}, True])
    return value


def test_weights_that_are_pickles_are_not_read_even_where_all_documents_have_them(consumer: Consumer) -> None:
    import torch
    from safetensors.torch import load

    weights = "vae/diffusion_pytorch_model.safetensors"
    pickled = io.BytesIO()
    torch.save(load(consumer.release[weights]), pickled)
    plan, report = (json.loads(consumer.release[name]) for name in (PLAN, REPORT))
    content, pickle = pickled.getvalue(), weights.replace("safetensors", "bin")
    del plan["files"][weights]
    plan["files"][pickle] = {"size": len(content), "sha256": sha256(content).hexdigest(), "git_sha1": None}
    files = {weights: None, pickle: content, PLAN: json.dumps(plan).encode()}
    manifest = Manifest.model_validate_json(consumer.listed(files)["publish/manifest.json"] or b"")
    built = Manifest(files={name: file for name, file in manifest.files.items() if name != PROVENANCE})
    stated = state(built, plan, report).model_dump_json().encode()
    consumer.change(consumer.listed({**files, PROVENANCE: stated}))
    refusal = consumer.refusal(Wanted())
    assert "It does not load: vae/diffusion_pytorch_model.bin is a pickle, which is never read" in refusal


def test_another_file_of_the_source_than_was_planned_is_found_though_the_manifest_has_it(consumer: Consumer) -> None:
    weights = "vae/diffusion_pytorch_model.safetensors"
    content = bytearray(consumer.release[weights])
    content[-1] ^= 1
    consumer.change(consumer.listed({weights: bytes(content)}))
    refusal = consumer.refusal(Wanted(load=False))
    assert f"publish/plan.json takes over another {weights} from the source than publish/manifest.json lists" in refusal
