"""A component is read once, forwards, whatever is made of it; what is interrupted goes on, nothing false is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from pipeline.backends import STREAMING
from pipeline.errors import QuantizationError, SourceError
from pipeline.files import ListedFile, git_blob_sha1, hashed, sha256_file
from pipeline.plan.shards import Weights, lay_out
from pipeline.quantize.build import Packer
from pipeline.quantize.spans import WeightFile
from pipeline.quantize.stream import stream
from pipeline.source.disk import LocalFile
from pipeline.source.safetensors import read_header
from tests.stream.conftest import Made


def quiet(name: str, size: int) -> None:
    pass


def read(folder: Path) -> dict[str, Any]:
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "numpy") as file:
            found |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return found


def expected(made: Any) -> dict[str, Any]:
    want = {}
    for part in made.tensors:
        for name, value in part.items():
            if "weight" not in name:
                want[name] = value
                continue
            flat = value.reshape(-1)
            want[name] = (value / 2).astype("f2")
            want[f"{name}.sums"] = np.add.reduceat(flat, np.arange(0, flat.size, 8))
    return want


def same(got: dict[str, Any], want: dict[str, Any]) -> bool:
    return got.keys() == want.keys() and all(np.array_equal(got[name], want[name]) for name in want)


@pytest.mark.parametrize("late", [False, True], ids=["header first", "header last"])
@pytest.mark.parametrize("limit", [0, 2_000_000], ids=["one file", "many files"])
def test_every_tensor_arrives_and_every_digest_is_the_files(three: Any, tmp_path: Path, limit: int, late: bool) -> None:
    heard: list[int] = []
    (made,) = stream(three.files, [three.job(tmp_path / "out", limit, late=late)], lambda _, size: heard.append(size))
    assert same(read(tmp_path / "out"), expected(three))
    assert (len(made.files) > 1) == bool(limit)
    for name, entry in made.files.items():
        assert entry.blake3 == hashed(tmp_path / "out" / name, blake3())[0]
    assert made.sources == {path.name: {"blake3": hashed(path, blake3())[0]} for path in three.paths}
    assert set(made.errors) == {name for part in three.tensors for name in part if "weight" in name}
    assert sum(heard) == sum(path.stat().st_size for path in three.paths)


class Counted:
    """Opens files and counts what is read of each."""

    def __init__(self, files: list[WeightFile]) -> None:
        self.bytes: dict[str, int] = {}
        self.files = [replace(file, open=lambda file=file: self.opened(file)) for file in files]

    def opened(self, file: WeightFile) -> Any:
        inner = file.open()
        counts = self.bytes
        counts.setdefault(file.name, 0)

        class Reading:
            def read(self, offset: int, buffer: memoryview) -> int:
                got = inner.read(offset, buffer)
                counts[file.name] += got
                return got

            def close(self) -> None:
                inner.close()

        return Reading()


def test_results_share_one_reading_of_the_source(three: Any, tmp_path: Path) -> None:
    counted = Counted(three.files)
    stream(counted.files, [three.job(tmp_path / name, limit) for name, limit in (("a", 0), ("b", 3_000_000))], quiet)
    assert counted.bytes == {path.name: path.stat().st_size for path in three.paths}
    assert same(read(tmp_path / "a"), expected(three))
    assert same(read(tmp_path / "b"), expected(three))


def test_what_is_made_together_is_what_is_made_alone(three: Any, tmp_path: Path) -> None:
    stream(three.files, [three.job(tmp_path / "a"), three.job(tmp_path / "b", 3_000_000)], quiet)
    stream(three.files, [three.job(tmp_path / "c", 3_000_000)], quiet)
    together, alone = sorted((tmp_path / "b").iterdir()), sorted((tmp_path / "c").iterdir())
    assert [path.read_bytes() for path in together] == [path.read_bytes() for path in alone]


def test_an_interrupted_run_goes_on_after_the_last_whole_file(three: Any, tmp_path: Path) -> None:
    job = three.job(tmp_path / "out", 3_500_000)
    with pytest.raises(KeyboardInterrupt):
        stream(three.files, [job], interrupt_at("2."))
    done = json.loads(job.journal.read_text())["files"]
    assert 0 < len(done) < len(job.weights.shards)
    before = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in done}
    counted = Counted(three.files)
    (made,) = stream(counted.files, [job], quiet)
    assert "part-0.safetensors" not in counted.bytes
    assert {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in done} == before
    assert set(made.files) == {shard.name for shard in job.weights.shards}
    assert made.sources.keys() == {path.name for path in three.paths}
    assert len(made.errors) == 6
    assert same(read(tmp_path / "out"), expected(three))


def test_a_tensor_that_cannot_be_cut_is_taken_whole(source: Callable[..., Any], tmp_path: Path) -> None:
    made = source([{"x.weight": np.ones((3000, 1024), "f4"), "rest": np.ones(3, "f4")}])
    job = made.job(tmp_path / "out")

    class Whole:
        describes = True
        describe, metadata = job.packer.describe, job.packer.metadata

        def packing(self, name: str, shape: tuple[int, ...], dtype: str) -> Any:
            packing: Any = job.packer.packing(name, shape, dtype)
            packing.unit = 3000 * 1024
            return packing

    stream(made.files, [replace(job, packer=Whole())], quiet)
    assert same(read(tmp_path / "out"), expected(made))


def test_a_weight_that_would_read_back_as_nan_is_refused_by_name(three: Any, tmp_path: Path) -> None:
    job = three.job(tmp_path / "out")

    class Ruining:
        describes = True
        describe, metadata = job.packer.describe, job.packer.metadata

        def packing(self, name: str, shape: tuple[int, ...], dtype: str) -> Any:
            packing: Any = job.packer.packing(name, shape, dtype)
            whole = packing.finish
            packing.finish = lambda: replace(whole(), noise=float("nan") if name == "1.a.weight" else 1.0)
            return packing

    with pytest.raises(QuantizationError, match=r"out: Tensor '1\.a\.weight' would read back as NaN"):
        stream(three.files, [replace(job, packer=Ruining())], quiet)


def test_tensors_at_odd_places_are_read(source: Callable[..., Any], tmp_path: Path) -> None:
    made = source([{"a": np.arange(3, dtype="i8"), "x.weight": np.ones((16, 8), "f4")}])
    path = made.paths[0]
    content = path.read_bytes()
    text = content[8 : 8 + int.from_bytes(content[:8], "little")]
    for spaces in range(4):  # a header of any length, so that the data begin anywhere
        padded = text + b" " * spaces
        path.write_bytes(len(padded).to_bytes(8, "little") + padded + content[8 + len(text) :])
        stream(made.files, [made.job(tmp_path / str(spaces))], quiet)
        assert same(read(tmp_path / str(spaces)), expected(made))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["1.a.weight", "1.bias"])
def test_nan_and_inf_are_refused_by_name(three: Any, tmp_path: Path, name: str, value: float) -> None:
    from stream.conftest import write_file

    three.tensors[1][name].reshape(-1)[-1] = value
    write_file(three.paths[1], three.tensors[1])
    with pytest.raises(SourceError, match=f"Tensor '{name}' holds NaN or Inf"):
        stream(three.files, [three.job(tmp_path / "out", 2_000_000)], quiet)


def test_a_source_that_changes_while_it_is_read_is_refused(three: Any, tmp_path: Path) -> None:
    def touch(name: str, size: int) -> None:
        if name.startswith("1."):
            with three.paths[1].open("r+b") as file:
                file.seek(-4, 2)
                file.write(b"\1\1\1\1")

    unlisted = [replace(file, listed=ListedFile(size=file.listed.size)) for file in three.files]
    job = three.job(tmp_path / "out", 2_000_000)
    with pytest.raises(SourceError, match="changed while it was read") as caught:
        stream(unlisted, [job], touch)
    assert str(three.paths[1]) in str(caught.value)
    kept = json.loads(job.journal.read_text())["files"]
    sources = {shard.name: shard.sources for shard in job.weights.shards}
    assert kept
    assert not [name for name in kept if any(tensor.startswith("1.") for tensor in sources[name])]


def test_a_file_other_than_its_place_lists_is_refused(three: Any, tmp_path: Path) -> None:
    files = three.files
    files[2] = replace(files[2], listed=ListedFile(size=files[2].listed.size, sha256="0" * 64))
    with pytest.raises(SourceError, match="not the file that its place lists"):
        stream(files, [three.job(tmp_path / "out")], quiet)
    for digest in ({"git_sha1": "0" * 40}, {"blake3": "0" * 64}):
        other = ListedFile(size=files[0].listed.size, **digest)
        with pytest.raises(SourceError, match="not the file that its place lists"):
            stream([replace(files[0], listed=other)], [three.job(tmp_path / "again")], quiet)


def test_a_source_is_known_by_the_digest_that_its_place_lists(three: Any, tmp_path: Path) -> None:
    files, first, second = three.files, *three.paths[:2]
    sha256, sha1 = sha256_file(first), git_blob_sha1(second.read_bytes())
    files[0] = replace(files[0], listed=ListedFile(size=first.stat().st_size, sha256=sha256))
    files[1] = replace(files[1], listed=ListedFile(size=second.stat().st_size, git_sha1=sha1))
    (made,) = stream(files, [three.job(tmp_path / "out")], quiet)
    assert (made.sources[first.name], made.sources[second.name]) == ({"sha256": sha256}, {"git_sha1": sha1})


def test_a_stored_download_is_held_against_its_own_digest_and_known_by_the_listed_one(
    three: Any, tmp_path: Path
) -> None:
    files, path = three.files, three.paths[0]
    listed = ListedFile(size=path.stat().st_size, sha256="1" * 64)
    files[0] = replace(files[0], listed=listed, stored=files[0].listed)
    (made,) = stream(files, [three.job(tmp_path / "out")], quiet)
    assert made.sources[path.name] == {"sha256": "1" * 64}
    files[0] = replace(files[0], stored=ListedFile(size=listed.size, blake3="0" * 64))
    with pytest.raises(SourceError, match="no longer what was downloaded"):
        stream(files, [three.job(tmp_path / "again")], quiet)


def tied(job: Any, repeated: str, other: str) -> Any:
    """Return a job whose library ties a tensor to another one, so that it is not written."""
    conversions = {name: part for name, part in job.answer.conversions.items() if name != repeated}
    answer = job.answer.model_copy(update={"conversions": conversions, "repeated": {repeated: other}})
    shards = [
        replace(
            shard,
            sources=tuple(name for name in shard.sources if name != repeated),
            tensors={name: spec for name, spec in shard.tensors.items() if name != repeated},
        )
        for shard in job.weights.shards
    ]
    return replace(job, answer=answer, weights=Weights([shard for shard in shards if shard.sources]))


def test_tied_tensors_are_written_once_and_must_be_the_same(three: Any, tmp_path: Path) -> None:
    stream(three.files, [tied(three.job(tmp_path / "out"), "2.ids", "0.ids")], quiet)
    assert read(tmp_path / "out").keys() == expected(three).keys() - {"2.ids"}
    differ(three)
    with pytest.raises(SourceError, match=r"'2\.ids' is tied to '0\.ids' in this model, and the two differ"):
        stream(three.files, [tied(three.job(tmp_path / "again"), "2.ids", "0.ids")], quiet)


def differ(made: Any) -> None:
    """Let the last file hold another value than the first one."""
    from stream.conftest import write_file

    made.tensors[2]["2.ids"][0] = 7
    write_file(made.paths[2], made.tensors[2])


@pytest.mark.parametrize("journal", ["whole", "without the digests of tied tensors"])
def test_tied_tensors_are_compared_though_one_was_read_before_a_kill(three: Any, tmp_path: Path, journal: str) -> None:
    differ(three)
    job = tied(three.job(tmp_path / "out", 2_000_000), "2.ids", "0.ids")
    with pytest.raises(KeyboardInterrupt):
        stream(three.files, [job], interrupt_at("1."))
    done = json.loads(job.journal.read_text())
    assert done["sources"].keys() == {"part-0.safetensors"}
    if journal != "whole":
        job.journal.write_text(json.dumps({word: value for word, value in done.items() if word != "tied"}))
    with pytest.raises(SourceError, match="the two differ"):
        stream(three.files, [job], quiet)


def test_a_tied_tensor_is_compared_where_nothing_else_of_its_file_is_wanted(
    source: Callable[..., Any], tmp_path: Path
) -> None:
    made = source([{"a": np.arange(5)}, {"b": np.arange(5) + 1}])
    with pytest.raises(SourceError, match="the two differ"):
        stream(made.files, [tied(made.job(tmp_path / "out"), "b", "a")], quiet)


def interrupt_at(start: str) -> Callable[[str, int], None]:
    """Return a listener that interrupts at a tensor."""

    def heard(name: str, size: int) -> None:
        if name.startswith(start):
            raise KeyboardInterrupt

    return heard


@pytest.fixture
def small(source: Callable[..., Any]) -> Any:
    """Four files of a few kilobytes, in which a tied tensor may or may not be its twin."""
    random = np.random.default_rng(0)
    ids, parts = np.arange(9), []
    for part in range(4):
        weights = {f"{part}.{name}.weight": random.normal(size=(16, 8 + part)).astype("f4") for name in "ab"}
        parts.append({**weights, f"{part}.ids": ids + (part == 3), f"{part}.bias": random.normal(size=7).astype("f4")})
    return source(parts)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kills=st.lists(st.integers(1, 9), max_size=3),
    limit=st.sampled_from([0, 400, 2_000]),
    late=st.booleans(),
    twins=st.sampled_from([None, ("2.ids", "0.ids"), ("3.ids", "0.ids"), ("0.ids", "3.ids")]),
)
def test_killed_and_resumed_is_uninterrupted(
    small: Any, tmp_path_factory: Any, kills: list[int], limit: int, late: bool, twins: tuple[str, str] | None
) -> None:
    """Whenever it is interrupted, and however often, the result and the refusals are those of one run."""
    folder = tmp_path_factory.mktemp("killed")

    def run(out: Path, after: int) -> Any:
        job = small.job(out, limit, late=late)
        left = [after]

        def heard(name: str, size: int) -> None:
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt

        try:
            (made,) = stream(small.files, [tied(job, *twins) if twins else job], heard)
        except SourceError as error:
            return str(error)
        return made, {path.name: path.read_bytes() for path in out.glob("*.safetensors")}

    whole = run(folder / "whole", 0)
    for after in kills:
        with suppress(KeyboardInterrupt):
            run(folder / "resumed", after)
    assert run(folder / "resumed", 0) == whole


def test_a_file_that_ends_early_is_refused(three: Any, tmp_path: Path) -> None:
    files, job = three.files, three.job(tmp_path / "out")
    with three.paths[2].open("r+b") as file:
        file.truncate(5_000_000)
    with pytest.raises(SourceError, match=r"ended after 5000000 of its \d+ bytes"):
        stream(files, [job], quiet)


def test_a_local_file_is_read_whole_from_any_page(tmp_path: Path) -> None:
    content = np.random.default_rng(1).bytes(3 * 4096 + 17)
    path = tmp_path / "file"
    path.write_bytes(content)
    from pipeline.source.disk import memory

    buffer = memory(8 * 4096)
    file = LocalFile(path)
    assert file.read(0, buffer) == len(content)
    assert bytes(buffer[: len(content)]) == content
    assert file.read(4096, buffer[:4096]) == 4096
    assert bytes(buffer[:4096]) == content[4096:8192]
    file.close()


def test_weights_that_are_quantized_as_one_may_lie_in_several_files(
    source: Callable[[Sequence[Mapping[str, Any]]], Made], tmp_path: Path
) -> None:
    names = [f"attn.{name}.weight" for name in ("q_proj", "o_proj", "k_proj")]
    random = np.random.default_rng(2)
    values = [random.normal(size=(rows, 64)).astype("f4") * rows for rows in (8, 16, 24)]
    made = source([{names[0]: values[0], names[1]: values[1]}, {names[2]: values[2]}])
    packer = Packer(STREAMING["compressed-tensors"], "nvfp4a16", {})
    plain = made.job(tmp_path / "made")
    together = plain.answer.model_copy(update={"together": ((names[0], names[2]),)})
    slots = plain.slots
    layouts = {name: packer.backend.layout("nvfp4a16", {}, name, slots[name].shape, "float32") for name in names}
    weights = lay_out(together, slots, layouts, "transformers", limit=1300)
    assert [set(shard.sources) for shard in weights.shards] == [{names[0], names[2]}, {names[1]}]
    stream(made.files, [replace(plain, answer=together, weights=weights, packer=packer)], lambda *_: None)
    whole = packer.packing("one", (32, 64), "float32")
    for first, part in ((0, values[0]), (8 * 64, values[2])):
        whole.pack(first, part.reshape(-1))
    wanted = whole.finish().tensors
    path = plain.out / weights.shards[0].name
    got = {name: path.read_bytes()[slot.begin : slot.end] for name, slot in read_header(path).items()}
    for name, rows in ((names[0], slice(0, 8)), (names[2], slice(8, 32))):
        assert got[f"{name}_packed"] == wanted["one_packed"][rows].tobytes()
        assert got[f"{name}_global_scale"] == wanted["one_global_scale"].tobytes()
