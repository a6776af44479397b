"""Provenance: the in-toto statement of a release, a value made of the plan and the report as they are published.

Follows in-toto Statement v1 (https://in-toto.io/Statement/v1) with the predicate SLSA provenance v1
(https://slsa.dev/provenance/v1). It has neither times nor random names: the same build gives the same statement, as
far as its report and its machine are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from pipeline.files import Manifest, digest_of
from pipeline.hub.release_files import RECIPE, REPORT
from pipeline.worker.hardware import hardware

STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "pkg:pypi/quantpress#run/v1"
BUILDER: Final = "pkg:pypi/quantpress"

Json = dict[str, Any]


class Value(BaseModel):
    """A part of the statement: frozen, with the specification's names for its keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True
    )


class Resource(Value):
    """A ResourceDescriptor: something with a name and digests; in-toto calls git's digests gitCommit and gitBlob."""

    name: str
    digest: dict[str, str] = Field(default={}, exclude_if=lambda value: not value)
    uri: str | None = Field(default=None, exclude_if=lambda value: value is None)
    annotations: Json | None = Field(default=None, exclude_if=lambda value: value is None)


class BuildDefinition(Value):
    """What was built: from the outside the recipe and its target, inside the plan that they resolved to."""

    build_type: str = BUILD_TYPE
    external_parameters: Json
    internal_parameters: Json
    resolved_dependencies: tuple[Resource, ...]


class Builder(Value):
    """The program, and the versions of all that took part."""

    id: str = BUILDER
    version: dict[str, str]


class RunDetails(Value):
    """How it was built: the machine, and what was measured."""

    builder: Builder
    metadata: Json
    byproducts: tuple[Resource, ...]


class Predicate(Value):
    """SLSA provenance v1."""

    build_definition: BuildDefinition
    run_details: RunDetails


class Statement(Value):
    """An in-toto statement about the files of a release."""

    type: str = Field(default=STATEMENT, validation_alias="_type", serialization_alias="_type")
    subject: tuple[Resource, ...]
    predicate_type: str = PREDICATE
    predicate: Predicate


def state(manifest: Manifest, plan: Json, report: Json) -> Statement:
    """Return the statement of a release.

    Args:
        manifest: Its files, without this statement and the manifest itself.
        plan: The content of `PLAN`.
        report: The content of `REPORT`.
    """
    versions = {**plan["versions"], **report["candidate"]["versions"]}
    definition = BuildDefinition(
        external_parameters={"recipe": resource(RECIPE, manifest), "target": plan["target"]},
        internal_parameters={"plan": plan, "planDigest": {"sha256": digest_of(plan)}},
        resolved_dependencies=dependencies(plan, report),
    )
    run = RunDetails(
        builder=Builder(version=dict(sorted(versions.items()))),
        metadata={"quantpress_hardware": {**hardware(), "device": report["candidate"]["device"]}},
        byproducts=(measurements(manifest, report),),
    )
    return Statement(subject=subjects(manifest), predicate=Predicate(build_definition=definition, run_details=run))


def subjects(manifest: Manifest) -> tuple[Resource, ...]:
    """Return every file of a manifest with its digest."""
    return tuple(Resource(name=name, digest={"sha256": entry.sha256}) for name, entry in sorted(manifest.files.items()))


def resource(name: str, manifest: Manifest) -> Json:
    """Return one file of a manifest as a descriptor."""
    return Resource(name=name, digest={"sha256": manifest.files[name].sha256}).model_dump()


def dependencies(plan: Json, report: Json) -> tuple[Resource, ...]:
    """Return the source at its commit, every file of it that was used, and the LoRAs that were fused or tried.

    A file has the digest by which its place vouches for it, and that of the bytes that were quantized, unless LoRAs
    were fused into them before.
    """
    source = plan["source"]
    name = str(source["repo"] or source["path"])
    whole = Resource(name=name, digest={"gitCommit": source["revision"]} if source["repo"] else {}, uri=uri_of(source))
    loras = plan.get("loras", [])
    fused = any(lora["how"] == "fused" for lora in loras)
    parts = [] if fused else report["weights"].values()
    read = {file: kinds(digest) for part in parts for file, digest in part["source"].items()}
    files = []
    for file, listed in sorted(plan["files"].items()):
        digest = digests_of(listed | read.get(file, {}))
        files.append(Resource(name=file, digest=digest, uri=uri_of(source, file)))
    return (whole, *files, *map(adapter, loras))


def kinds(digest: str | Mapping[str, str]) -> Mapping[str, str]:
    """Return the digest of a file that was read, by its kind; a report of 0.4 or older has a SHA-256 alone."""
    return {"sha256": digest} if isinstance(digest, str) else digest


def digests_of(listed: Mapping[str, Any]) -> dict[str, str]:
    """Return the digests of a listed file by the names that in-toto gives them, where it has one."""
    found = {"sha256": listed["sha256"], "gitBlob": listed["git_sha1"], "blake3": listed.get("blake3")}
    return {kind: value for kind, value in found.items() if value}


def adapter(lora: Json) -> Resource:
    """Return a LoRA's file as a descriptor, with what was done with it."""
    name = str(lora["repo"] or lora["path"])
    told = {"lora": name, "scale": lora["scale"], "how": lora["how"]}
    return Resource(
        name=lora["file"], digest=digests_of(lora["listed"]), uri=uri_of(lora, lora["file"]), annotations=told
    )


def uri_of(source: Mapping[str, str | None], file: str = "") -> str | None:
    """Return a source on the Hub, or a file of it, as a package URL; a folder has none."""
    if not source["repo"]:
        return None
    return f"pkg:huggingface/{quote(source['repo'])}@{source['revision']}{f'#{quote(file)}' if file else ''}"


def measurements(manifest: Manifest, report: Json) -> Resource:
    """Return what was measured on the checkpoint."""
    metrics = {name: found["value"] for name, found in report["metrics"].items()}
    candidate = report["candidate"]
    told = {key: candidate[key] for key in ("load_seconds", "peak_memory_bytes", "peak_device_bytes")}
    return Resource(
        name=REPORT,
        digest={"sha256": manifest.files[REPORT].sha256},
        annotations={"verdict": report["verdict"], "metrics": metrics, "sizes": report["sizes"], **told},
    )
