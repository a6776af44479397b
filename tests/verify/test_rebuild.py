"""Made again from its recipe a checkpoint is the same; where it is not, the first tensor that differs is named."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline.verify.tensors import Comparison, compare
from pipeline.verify.verification import local
from tests.verify.conftest import REPO, Consumer

WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"
Tensors = dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"]


def compared(first: Tensors, second: Tensors, folder: Path) -> Comparison:
    heard: list[str] = []
    files = []
    for number, tensors in enumerate((first, second)):
        save_file(tensors, folder / f"{number}.safetensors")
        files.append(local(folder / f"{number}.safetensors", "transformer/a.safetensors", "transformer"))
    found = compare([files[0]], [files[1]], lambda name, _: heard.append(name))
    assert heard == sorted(f"transformer/{name}" for name in first.keys() & second.keys())
    return found


def test_files_are_compared_tensor_by_tensor(tmp_path: Path) -> None:
    base = {"a": np.zeros((3, 4), np.float32), "b": np.ones(5_000_000, np.float32), "c": np.zeros((), np.float32)}
    assert compared(base, base, tmp_path).same
    changed = base["b"].copy()
    changed[[0, 2_500_000, -1]] = (-1.0, np.nan, 2.0)
    others = {"a": np.zeros((4, 3), np.float32), "b": changed, "d": base["c"]}
    found = compared(base, others, tmp_path)
    assert found.elements == {"transformer/b": 3}
    assert found.headers == {"transformer/a": "F32 of shape [3, 4] and F32 of shape [4, 3]"}
    assert (found.missing, found.surplus) == (("transformer/c",), ("transformer/d",))
    assert not found.same


def test_zeros_of_another_sign_differ(tmp_path: Path) -> None:
    found = compared({"a": np.array([0.0, 1.0], np.float32)}, {"a": np.array([-0.0, 1.0], np.float32)}, tmp_path)
    assert found.elements == {"transformer/a": 1}
    assert found.first == "1 elements of the tensor transformer/a differ"


@pytest.mark.nightly
def test_a_release_is_made_again_from_what_it_carries(consumer: Consumer) -> None:
    done = consumer.publish("--json", "verify", REPO, "--no-load", "--rebuild")
    assert done.code == 0, done.err
    result = done.lines[-1]["result"]
    assert result["checks"][-1]["name"] == "rebuild"
    assert result["rebuilt"]["identical"] > 100
    assert not result["rebuilt"]["elements"]
    # Nothing is left for a second rebuild to find, nor of the source in a consumer's home.
    assert not (consumer.home / "rebuild").exists()
    assert not list((consumer.home / "store").glob("fetch/*"))

    weights = bytearray(consumer.release[WEIGHTS])
    length = struct.unpack("<Q", weights[:8])[0]
    header = json.loads(weights[8 : 8 + length])
    name = min(key for key in header if key != "__metadata__")
    weights[8 + length + header[name]["data_offsets"][0]] ^= 1
    consumer.change(consistent(consumer, {WEIGHTS: bytes(weights)}))
    again = consumer.publish("--json", "verify", REPO, "--no-load", "--rebuild")
    assert again.code == 10
    assert f"1 elements of the tensor transformer/{name} differ" in again.error


def consistent(consumer: Consumer, files: dict[str, bytes | None]) -> dict[str, bytes | None]:
    """Return files with documents that all agree with them, as a publisher would who wants to deceive."""
    release = consumer.release
    report = json.loads(release["publish/report.json"])
    statement = json.loads(release["publish/provenance.json"])
    entry = report["weights"]["transformer"]["files"]["diffusion_pytorch_model.safetensors"]
    entry["sha256"] = hashlib.sha256(files[WEIGHTS] or b"").hexdigest()
    changed = {**files, "publish/report.json": json.dumps(report).encode()}
    for subject in statement["subject"]:
        if subject["name"] in changed:
            subject["digest"]["sha256"] = hashlib.sha256(changed[subject["name"]] or b"").hexdigest()
    return consumer.listed({**changed, "publish/provenance.json": json.dumps(statement).encode()})
