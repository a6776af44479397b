"""The statement of a release: in the form of in-toto and SLSA, the same for the same build, and about every file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.card.provenance import Statement, dependencies, state
from pipeline.files import FileEntry, Manifest, digest_of
from pipeline.hub.release_files import PLAN, RECIPE, REPORT

RECORDED = Path(__file__).parent / "recorded" / "bnb-nf4"
MANIFEST = Manifest(
    files={name: FileEntry(size=1, sha256=f"{number:064x}") for number, name in enumerate((RECIPE, PLAN, REPORT, "a"))}
)
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture
def plan() -> dict[str, Any]:
    return dict(json.loads((RECORDED / "plan.json").read_bytes()))


@pytest.fixture
def report() -> dict[str, Any]:
    read = json.loads((RECORDED / "report.json").read_bytes())
    return {**read, "weights": {"transformer": {"source": {WEIGHTS: "f" * 64}, "files": {}}}}


@pytest.fixture
def statement(plan: dict[str, Any], report: dict[str, Any]) -> dict[str, Any]:
    return state(MANIFEST, plan, report).model_dump(mode="json")


def test_it_has_the_form_of_slsa_provenance(statement: dict[str, Any]) -> None:
    assert statement.keys() == {"_type", "subject", "predicateType", "predicate"}
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    definition, run = statement["predicate"]["buildDefinition"], statement["predicate"]["runDetails"]
    assert definition.keys() == {"buildType", "externalParameters", "internalParameters", "resolvedDependencies"}
    assert run.keys() == {"builder", "metadata", "byproducts"}
    assert run["builder"].keys() == {"id", "version"}


def test_every_file_is_a_subject(statement: dict[str, Any]) -> None:
    found = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
    assert found == {name: entry.sha256 for name, entry in MANIFEST.files.items()}


def test_it_names_the_source_its_commit_and_every_file_of_it(plan: dict[str, Any], statement: dict[str, Any]) -> None:
    whole, *files = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    commit = plan["source"]["revision"]
    assert whole == {
        "name": "digits/digits-flux",
        "digest": {"gitCommit": commit},
        "uri": f"pkg:huggingface/digits/digits-flux@{commit}",
    }
    assert [file["name"] for file in files] == sorted(plan["files"])
    by_name = {file["name"]: file for file in files}
    assert by_name["model_index.json"]["digest"] == {"gitBlob": plan["files"]["model_index.json"]["git_sha1"]}
    assert by_name[WEIGHTS]["digest"]["sha256"] == "f" * 64
    assert by_name[WEIGHTS]["uri"] == f"{whole['uri']}#{WEIGHTS}"


def test_it_names_the_digest_of_what_was_read_whatever_kind_it_is(plan: dict[str, Any], report: dict[str, Any]) -> None:
    plan["files"][WEIGHTS] = {"size": 1, "sha256": None, "git_sha1": None, "blake3": "a" * 64}
    report["weights"]["transformer"]["source"] = {WEIGHTS: {"blake3": "a" * 64}}
    files = {file.name: file for file in dependencies(plan, report)}
    assert files[WEIGHTS].digest == {"blake3": "a" * 64}
    plan["files"][WEIGHTS] = {"size": 1, "sha256": "b" * 64, "git_sha1": None}
    files = {file.name: file for file in dependencies(plan, report)}
    assert files[WEIGHTS].digest == {"sha256": "b" * 64, "blake3": "a" * 64}


def test_it_carries_the_plan_and_its_digest(plan: dict[str, Any], statement: dict[str, Any]) -> None:
    inside = statement["predicate"]["buildDefinition"]["internalParameters"]
    assert inside == {"plan": plan, "planDigest": {"sha256": digest_of(plan)}}


def test_a_source_in_a_folder_has_no_address(plan: dict[str, Any], report: dict[str, Any]) -> None:
    plan["source"] = {"repo": None, "revision": None, "path": "source"}
    whole, *files = state(MANIFEST, plan, report).predicate.build_definition.resolved_dependencies
    assert whole.model_dump(mode="json") == {"name": "source"}
    assert all(file.uri is None and file.digest for file in files)


def test_it_tells_versions_machine_and_measurements(report: dict[str, Any], statement: dict[str, Any]) -> None:
    run = statement["predicate"]["runDetails"]
    assert run["builder"]["version"]["python"] == report["candidate"]["versions"]["python"]
    assert run["metadata"]["quantpress_hardware"].keys() == {"cpu", "cores", "device"}
    (measured,) = run["byproducts"]
    assert measured["digest"] == {"sha256": MANIFEST.files[REPORT].sha256}
    assert measured["annotations"]["metrics"]["psnr"] == report["metrics"]["psnr"]["value"]


def test_the_same_build_states_the_same(plan: dict[str, Any], report: dict[str, Any]) -> None:
    first, second = (state(MANIFEST, plan, report) for _ in range(2))
    assert first == second
    assert Statement.model_validate(json.loads(json.dumps(first.model_dump(mode="json")))) == first
