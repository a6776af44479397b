"""Which rows of a dataset become prompts, and what is said where none can."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from pipeline.recipe import DatasetPrompts
from pipeline.recipe.rows import Job, say
from tests.prompts.conftest import TEXTS, parquet

Said = dict[str, Any]
Ask = Callable[..., Said]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Ask for prompts of the one file of a dataset, named as it is given."""

    def asked(files: dict[str, bytes], /, step: str = "rows", exact: bool = False, **words: Any) -> Said:
        for name, content in files.items():
            path = tmp_path / "dataset" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        clause = {"dataset": "a/b", "revision": "0" * 40, "split": "train", "column": "text", **words}
        folder = (tmp_path / "dataset").resolve()
        asked_for = DatasetPrompts(**clause)
        return say(Job(step=step, folder=str(folder), beside=str(tmp_path), asked=asked_for, exact=exact))

    return asked


def lines(*rows: Any) -> dict[str, bytes]:
    return {"train.jsonl": b"".join(json.dumps(row).encode() + b"\n" for row in rows)}


def texts(said: Said) -> list[str]:
    assert "prompts" in said, said
    return [prompt["prompt"] for prompt in said["prompts"]]


def told(said: Said) -> str:
    assert said.get("error") == "recipe", said
    return f"{said['what']} {said['remedy']}"


def test_without_a_sample_all_rows_are_asked_in_their_order(ask: Ask) -> None:
    assert texts(ask(lines(*({"text": text} for text in TEXTS)))) == TEXTS


def test_a_sample_is_the_same_for_ever(ask: Ask) -> None:
    """Written down once: neither a version of anything here nor another way to store the rows may change it."""
    chosen = ["a black cat", "a red dog", "a black dog", "a red hat"]
    assert texts(ask(lines(*({"text": text} for text in TEXTS)), sample=4, seed=7)) == chosen


def test_a_sample_does_not_depend_on_how_the_rows_are_stored(ask: Ask, tmp_path: Path) -> None:
    stored = [lines(*({"text": text} for text in TEXTS)), {"train.parquet": parquet(text=TEXTS)}]
    stored.append({"train.csv": "\n".join(["text", *TEXTS, ""]).encode()})
    found = []
    for files in stored:
        found.append(texts(ask(files, sample=5)))
        for name in files:
            (tmp_path / "dataset" / name).unlink()
    assert found[0] == found[1] == found[2]
    assert found[0] == sorted(found[0], key=TEXTS.index)


def test_a_larger_sample_has_the_smaller_one_in_it(ask: Ask) -> None:
    rows = lines(*({"text": text} for text in TEXTS))
    assert set(texts(ask(rows, sample=4))) < set(texts(ask(rows, sample=8)))


def test_every_row_has_its_chance(ask: Ask) -> None:
    rows = lines(*({"text": text} for text in TEXTS))
    drawn = {text for seed in range(12) for text in texts(ask(rows, sample=4, seed=seed))}
    assert drawn == set(TEXTS)


def test_a_text_that_is_there_twice_is_asked_once(ask: Ask) -> None:
    said = ask(lines({"text": "a"}, {"text": "b"}, {"text": "a"}, {"text": "a "}))
    assert texts(said) == ["a", "b", "a "]
    assert (said["rows"], said["repeated"]) == (4, 1)


def test_a_sample_of_more_prompts_than_there_are_is_refused(ask: Ask) -> None:
    said = ask(lines({"text": "a"}, {"text": "a"}, {"text": "b"}), sample=3)
    assert "A sample of 3 is asked for, and there are 2 different prompts." in told(said)


def test_more_prompts_than_can_be_asked_want_a_sample(ask: Ask) -> None:
    many = lines(*({"text": f"cat {number}"} for number in range(10_001)))
    assert "Say with 'sample:' how many are chosen." in told(ask(many))
    assert len(texts(ask(many, sample=10_000))) == 10_000


@pytest.mark.parametrize("empty", ["", " \n", None])
def test_an_empty_text_is_refused_with_its_row(ask: Ask, empty: Any) -> None:
    assert "The column 'text' of row 1 is empty." in told(ask(lines({"text": "a"}, {"text": empty})))


def test_an_empty_text_that_is_not_chosen_does_not_matter(ask: Ask) -> None:
    rows = lines({"text": ""}, *({"text": text} for text in TEXTS))
    assert any("prompts" in ask(rows, sample=2, seed=seed) for seed in range(3))


def test_a_column_of_something_else_is_refused(ask: Ask) -> None:
    assert "no texts: row 0 has int '3'" in told(ask(lines({"text": 3})))
    assert "no texts: row 0 has list" in told(ask(lines({"text": ["a"]})))


def test_an_unknown_column_is_told_with_those_there_are(ask: Ask) -> None:
    said = told(ask(lines({"text": "a", "about": "b"}), column="Text"))
    assert said == "The dataset has no column 'Text'. Did you mean 'text'? It has text and about."
    assert "no column 'label'. It has text" in told(ask(lines({"text": "a"}), label="label"))


def test_an_unknown_column_of_a_table_without_types_is_told_too(ask: Ask) -> None:
    assert "no column 'prompt'. It has text and about." in told(
        ask({"train.csv": b"text,about\na,b\n"}, column="prompt")
    )


def test_an_unknown_split_is_told_with_those_there_are(ask: Ask) -> None:
    files = lines({"text": "a"}) | {"test.jsonl": b'{"text": "b"}\n'}
    said = told(ask(files, "files", split="tests"))
    assert said == "The dataset has no split 'tests'. Did you mean 'test'? It has train and test."


def test_a_configuration_has_to_be_named_where_there_is_no_default(ask: Ask) -> None:
    card = b"---\nconfigs:\n- {config_name: one, data_files: a.jsonl}\n- {config_name: two, data_files: b.jsonl}\n---\n"
    files = {"README.md": card, "a.jsonl": b'{"text": "a"}\n', "b.jsonl": b'{"text": "b"}\n'}
    assert "Write one with 'config:': it has one and two." in told(ask(files, "files"))
    assert "no configuration 'three'" in told(ask(files, "files", config="three"))
    assert texts(ask(files, config="two")) == ["b"]


def test_the_files_of_the_split_are_named_while_they_are_empty(ask: Ask) -> None:
    names = [
        "data/train-00000-of-00002.parquet",
        "data/train-00001-of-00002.parquet",
        "data/test-00000-of-00001.parquet",
    ]
    assert ask(dict.fromkeys(names, b""), "files") == {"files": names[:2]}


def test_the_files_of_other_splits_are_not_looked_into(ask: Ask) -> None:
    files = {"data/train-00000-of-00001.parquet": b"", "data/test-00000-of-00001.parquet": parquet(text=["b"])}
    assert texts(ask(files, split="test")) == ["b"]


def test_a_label_is_the_name_of_its_class(ask: Ask) -> None:
    card = b"""---
dataset_info:
  features:
  - {name: text, dtype: string}
  - {name: label, dtype: {class_label: {names: {'0': cat, '1': dog}}}}
  splits: [{name: train, num_bytes: 1, num_examples: 2}]
---
"""
    files = {"README.md": card, "data/train-00000-of-00001.parquet": parquet(text=["a", "b"], label=[1, 0])}
    assert [prompt["label"] for prompt in ask(files, label="label")["prompts"]] == ["dog", "cat"]


def test_a_label_that_is_not_there_is_refused(ask: Ask) -> None:
    rows = lines({"text": "a", "about": "x"}, {"text": "b", "about": None})
    assert "The column 'about' of row 1 is empty." in told(ask(rows, label="about"))


def test_a_transcript_may_be_empty_where_nothing_is_said_and_null_where_nobody_knows(ask: Ask) -> None:
    sounds = [{"bytes": sound, "path": "a.wav"} for sound in (b"one", b"two", b"three")]
    table = {"train.parquet": parquet(id=["a", "b", "c"], text=["a cat", "", None], audio=sounds)}
    said = ask(table, exact=True, column="id", label="text", files={"audio": "audio"})
    assert [(prompt["prompt"], prompt["label"]) for prompt in said["prompts"]] == [
        ("a", "a cat"),
        ("b", ""),
        ("c", None),
    ]
    blank = {"train.parquet": parquet(id=["a"], text=[" "])}
    assert "The column 'text' of row 0 is empty." in told(ask(blank, exact=True, column="id", label="text"))


def test_a_split_without_rows_is_refused(ask: Ask) -> None:
    assert "The split has no rows." in told(ask({"train.csv": b"text\n"}))
    assert "The split has no rows." in told(ask({"train.parquet": parquet(text=[])}, column="text"))


def test_a_table_that_is_broken_is_the_sources_fault(ask: Ask) -> None:
    said = ask({"train.jsonl": b'{"text": "a"}\n{"text": \n'})
    assert said["error"] == "source"
    assert said["what"].startswith("datasets cannot read it")


def test_pictures_beside_the_texts_are_not_decoded(ask: Ask) -> None:
    import pyarrow as pa

    pictures = pa.array([{"bytes": b"no picture", "path": None}])
    card = b"---\ndataset_info:\n  features:\n  - {name: text, dtype: string}\n  - {name: image, dtype: image}\n---\n"
    files = {"README.md": card, "train.parquet": parquet(text=["a"], image=pictures)}
    assert texts(ask(files)) == ["a"]
    assert "The column 'image' has no texts" in told(ask(files, column="image"))


@pytest.mark.parametrize("place", ["{}", "../../../../../../../../../..{}", "file://{}", "http://127.0.0.1:9/a.txt"])
def test_a_card_that_leads_out_of_its_repository_is_not_followed(ask: Ask, tmp_path: Path, place: str) -> None:
    """What it leads to would become prompts, and be published with them."""
    secret = tmp_path / "secret.txt"
    secret.write_text("the password\n")
    card = f"---\nconfigs:\n- config_name: default\n  data_files: {json.dumps(place.format(secret))}\n---\n"
    said = ask({"README.md": card.encode(), "a.txt": b"hello\n"}, "files")
    assert said.get("error") in {"source", "environment"}, said


def test_what_a_card_says_of_its_tables_is_heeded(ask: Ask) -> None:
    card = b"---\nconfigs:\n- {config_name: default, data_files: train.csv, sep: ';'}\n---\n"
    assert texts(ask({"README.md": card, "train.csv": b"text;about\na, b;c\n"})) == ["a, b"]


def test_a_program_in_a_dataset_is_not_run(ask: Ask, tmp_path: Path) -> None:
    program = f"open({str(tmp_path / 'ran')!r}, 'w').close()\n".encode()
    ask({"dataset.py": program, "train.jsonl": b'{"text": "a"}\n'})
    assert not (tmp_path / "ran").exists()


def test_pictures_are_the_bytes_that_the_table_has(ask: Ask, tmp_path: Path) -> None:
    """As ``datasets`` writes them, and as plain bytes; the same picture under another name is the same file."""
    kept = [{"bytes": b"one", "path": "a/in.PNG"}, {"bytes": b"two", "path": None}, {"bytes": b"one", "path": "b.png"}]
    table = parquet(text=["a", "b", "a"], picture=kept, mask=[b"m", b"n", b"m"])
    said = ask({"train.parquet": table}, files={"image": "picture", "mask_image": "mask"})
    names = [prompt["files"] for prompt in said["prompts"]]
    assert [(tmp_path / name["image"]).read_bytes() for name in names] == [b"one", b"two"]
    assert [(tmp_path / name["mask_image"]).read_bytes() for name in names] == [b"m", b"n"]
    assert names[0]["image"] == f"{sha256(b'one').hexdigest()}.png"
    assert (said["rows"], said["repeated"]) == (3, 1)


def test_the_same_text_about_another_picture_is_another_prompt(ask: Ask) -> None:
    table = {"train.parquet": parquet(text=["a", "a"], picture=[b"one", b"two"])}
    assert texts(ask(table, files={"image": "picture"})) == ["a", "a"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("a.png", "The column 'picture' has no files: row 0 has str 'a.png'."),
        ({"bytes": None, "path": "a.png"}, "The column 'picture' has no files: row 0 has dict"),
        ({"bytes": b"", "path": None}, "The column 'picture' of row 0 is empty."),
        (None, "The column 'picture' of row 0 is empty."),
        ({"bytes": None, "path": 7}, "The column 'picture' has no files: row 0 has dict"),
    ],
)
def test_a_picture_that_is_not_in_the_table_is_refused(ask: Ask, value: Any, said: str) -> None:
    table = {"train.parquet": parquet(text=["a"], picture=[value])}
    assert said in told(ask(table, files={"image": "picture"}))
