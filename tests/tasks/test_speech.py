"""Clips become transcripts: sound is read whatever its file looks like, and errors are counted as the field counts."""

from __future__ import annotations

import json
import shutil
import time
from functools import cache
from importlib.resources import files as resources
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import wavfile

from pipeline.recipe.prompts import Question, scan
from pipeline.tasks import TASKS
from pipeline.tasks.answers import Answers, Request
from pipeline.tasks.automatic_speech_recognition import language_of
from pipeline.tasks.metrics import MetricInput, Pair
from pipeline.tasks.speech import audio
from pipeline.tasks.speech.audio import RATE, read_clip
from pipeline.tasks.speech.transcripts import edits, fault, plain, words
from pipeline.tasks.texts.text import Text
from pipeline.trial import tiny
from pipeline.validate.config_diff import differences
from pipeline.validate.consumer import answer
from pipeline.validate.findings import Sample
from pipeline.worker.child import WorkerError
from tests.desk import Desk
from tests.prompts.conftest import parquet, push

TASK = TASKS["automatic-speech-recognition"]
PROSE = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()[:30_000]
HINDI = (
    "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है। उन्हें बुद्धि और अन्तरात्मा की देन प्राप्त है और "
    "परस्पर उन्हें भाईचारे के भाव से बर्ताव करना चाहिए। सभी को इस घोषणा में सन्निहित सभी अधिकारों और आज़ादियों को प्राप्त करने का हक़ है "
)


def tone(rate: int, seconds: float = 0.5, hertz: float = 440) -> Any:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


def heard(said: str | None, own: str, other: str, at: int = 0, language: str = "en") -> Pair:
    both = (Text(text, tuple(map(ord, text)), language=language) for text in (own, other))
    return Pair(at, f"clip {at}", said, 0, *both)


def measured(metric: str, *pairs: Pair) -> Any:
    return TASK.metrics[metric].measure(MetricInput(pairs))


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_any_rate_becomes_that_of_the_model(rate: int, tmp_path: Path) -> None:
    wavfile.write(tmp_path / "a.wav", rate, tone(rate).astype(np.float32))
    clip = read_clip(tmp_path / "a.wav")
    assert (clip.rate, clip.channels, len(clip.samples)) == (rate, 1, RATE // 2)
    inner = slice(400, -400)  # the filter rings at both ends
    assert np.abs(clip.samples - tone(RATE))[inner].max() < 0.01


@pytest.mark.parametrize(("kind", "within"), [("u1", 0.02), ("<i2", 1e-4), ("<i4", 1e-6), ("<f4", 1e-6), ("<f8", 1e-6)])
def test_any_kind_of_sample_is_the_same_sound(kind: str, within: float, tmp_path: Path) -> None:
    whole = np.iinfo(kind).max if kind[-2] in "iu" else 1
    values = tone(RATE) * (127 if kind == "u1" else whole) + (128 if kind == "u1" else 0)
    wavfile.write(tmp_path / "a.wav", RATE, values.astype(kind))
    assert np.abs(read_clip(tmp_path / "a.wav").samples - tone(RATE)).max() < within


def test_channels_are_mixed(tmp_path: Path) -> None:
    both = np.stack([tone(RATE), np.zeros(RATE // 2)], axis=1).astype(np.float32)
    wavfile.write(tmp_path / "a.wav", RATE, both)
    clip = read_clip(tmp_path / "a.wav")
    assert clip.channels == 2
    np.testing.assert_allclose(clip.samples, tone(RATE) / 2, atol=1e-6)


@pytest.mark.parametrize(("suffix", "within"), [(".flac", 1e-3), (".ogg", 0.2), (".mp3", 0.2)])
def test_what_is_no_wav_is_read_too(suffix: str, within: float, tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / f"a{suffix}", tone(RATE, 2), RATE)
    clip = read_clip(tmp_path / f"a{suffix}")
    assert abs(clip.seconds - 2) < 0.1
    assert np.abs(clip.samples[8000:9000]).max() == pytest.approx(0.5, abs=within)


def test_bytes_that_say_wav_and_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF" + bytes(40))
    with pytest.raises(ValueError, match="it is no sound that can be read"):
        read_clip(tmp_path / "a.wav")


def test_a_wav_that_is_cut_off_is_none(tmp_path: Path) -> None:
    wavfile.write(tmp_path / "a.wav", RATE, np.zeros(RATE, np.int16))
    (tmp_path / "a.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:524])
    with pytest.raises(ValueError, match="it ends before its header says that it does; copy or convert it again"):
        read_clip(tmp_path / "a.wav")


def test_a_small_file_of_many_samples_is_not_read(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    with soundfile.SoundFile(tmp_path / "a.flac", "w", 48_000, 8, "PCM_16") as file:
        for _ in range(10):
            file.write(np.zeros((48_000 * 20, 8), np.int16))
    assert (tmp_path / "a.flac").stat().st_size < 1 << 20
    with pytest.raises(ValueError, match="77 million samples in 8 channels, and at most 58 million are read; convert"):
        read_clip(tmp_path / "a.flac")


def test_text_is_no_sound(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("hello")
    with pytest.raises(ValueError, match=r"no sound that can be read|it is no WAV"):
        read_clip(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("samples", "rate", "told"),
    [
        ([], RATE, "there is no sample in it; record it again"),
        (np.zeros(8_000 * 3600, np.uint8), 8_000, "it takes 60 minutes; cut it into clips of at most 10"),
        (np.full(100, np.nan, np.float32), RATE, "some of its samples are NaN or infinite; convert it to 16 bits"),
        (np.zeros(10, np.int16), 10, "it says that it has 10 samples a second; convert it to 16000"),
    ],
)
def test_a_clip_that_cannot_be_heard_is_told_with_the_way_out(
    samples: Any, rate: int, told: str, tmp_path: Path
) -> None:
    wavfile.write(tmp_path / "a.wav", rate, np.asarray(samples, getattr(samples, "dtype", np.int16)))
    with pytest.raises(ValueError, match=told):
        read_clip(tmp_path / "a.wav")


def test_a_file_is_not_read_where_its_size_says_enough(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    with pytest.raises(ValueError, match="the file is empty; record it again"):
        read_clip(tmp_path / "empty.wav")
    with (tmp_path / "huge.wav").open("wb") as file:
        file.truncate(audio.LARGEST + 1)
    with pytest.raises(ValueError, match="larger than 256 MiB; cut it into clips of 10 minutes"):
        read_clip(tmp_path / "huge.wav")


@pytest.mark.parametrize(
    ("said", "other", "apart"),
    [("", "", 0), ("abc", "", 3), ("", "ab", 2), ("kitten", "sitting", 3), ("abcd", "abcd", 0), ("ab", "ba", 2)],
)
def test_edits_are_the_fewest(said: str, other: str, apart: int) -> None:
    assert edits(said, other) == edits(other, said) == apart


@given(st.text("abc"), st.text("abc"))
def test_edits_are_those_of_the_definition(said: str, other: str) -> None:
    @cache
    def least(at: int, to: int) -> int:
        if not at or not to:
            return at + to
        return min(
            least(at - 1, to) + 1, least(at, to - 1) + 1, least(at - 1, to - 1) + (said[at - 1] != other[to - 1])
        )

    assert edits(said.split("c"), other.split("c")) == edits(other.split("c"), said.split("c"))
    assert edits(said, other) == least(len(said), len(other))


def test_edits_of_a_long_clip_take_no_time() -> None:
    begun = time.perf_counter()
    assert edits("a cat " * 1000, "a dog " * 1000) == 3000
    assert time.perf_counter() - begun < 5  # of 18 s in plain Python


def test_texts_are_compared_without_what_is_not_heard() -> None:
    assert words("Go forward ten meters.", "en") == words("go forward 10 meters", "english")
    assert words("Mr. Smith, hmm, doesn't", "en") == ["mister", "smith", "does", "not"]
    assert plain("Größe, Maß!", "de") == "größe maß"
    assert words("Um zehn Uhr", "de") == ["um", "zehn", "uhr"]


@pytest.mark.parametrize("mark", ["…", "...", "”", "\u2019", "\u0301"])
def test_a_letter_beyond_ascii_changes_no_rule(mark: str) -> None:
    said = "mister john dashwood hadn't five five"
    read = measured(
        "wer", heard(said, f"Mr. John Dashwood hadn't Five Five{mark}", "Mr. John Dashwood hadn\u2019t Five Five")
    )
    assert (read.reference, read.value) == (0, 0)


@pytest.mark.parametrize(
    ("call", "config", "language"),
    [
        ({}, {"is_multilingual": False}, "en"),
        ({}, {"is_multilingual": True}, ""),
        ({"language": "German"}, {"is_multilingual": True}, "German"),
        ({"language": "de", "task": "translate"}, {"is_multilingual": True}, "en"),
        ({}, {"is_multilingual": True, "language": "de"}, "de"),
    ],
)
def test_english_is_known_by_model_and_call(call: dict[str, Any], config: dict[str, Any], language: str) -> None:
    assert language_of(SimpleNamespace(**config), call) == language


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ([heard("a cat", "a cat", ""), heard("the dog", "cat", "", 1)], ""),
        ([heard("", "", ""), heard(None, "cat", "", 1)], ""),
        (
            [heard("a cat", "a cat", ""), heard("a dog", " ", "", 1)],
            "for 'clip 1' is empty, where 'a dog' is",
        ),
        ([heard("a cat", "xy zz", ""), heard("a dog", "k k k", "", 1)], "nothing to do with the clips: 1.2 words are"),
    ],
)
def test_a_source_that_hears_nothing_of_what_is_said_is_none(pairs: list[Pair], told: str) -> None:
    found = TASK.medium.lost(pairs)
    assert told in found
    assert bool(told) == bool(found)


def test_an_error_rate_is_that_of_all_clips_together() -> None:
    pairs = (
        heard("one two three four five six seven cat dog cow", "x " * 10, "x " * 5 + "six", 0),
        heard("a cat", "a cat", "a dog", 1),
        heard("", "you", "thank you", 2),
        heard(None, "who knows", "who knew", 3),
    )
    found = measured("wer", *pairs)
    said = [len(words(pair.label or "", "en")) for pair in pairs]
    wrong = [edits(words(pair.label or "", "en"), words(pair.candidate.text, "en")) for pair in pairs[:2]]
    assert found.value == pytest.approx(sum(wrong) / sum(said))
    assert found.reference == pytest.approx(edits(words(pairs[0].label or "", "en"), ["x"] * 10) / sum(said))
    sample = Sample(TASK.metrics["wer"], found, pairs)
    assert sample.prompts == 2
    number = sample.number("value")
    assert number is not None
    assert number.number == pytest.approx(found.value)
    rise = sample.number("drop")
    assert rise is not None
    assert rise.number == pytest.approx(found.value - found.reference)
    assert sample.worst("worst drop") == pytest.approx(0.5)


def test_letters_are_counted_for_the_other_rate() -> None:
    assert measured("cer", heard("a cat", "a cat", "a car")).value == pytest.approx(1 / 5)


def test_what_is_heard_in_silence_is_counted_there_alone() -> None:
    found = measured("insertions_on_silence", heard("a cat", "a", "a b c d e"), heard("", "you", "thank you so", 1))
    assert (found.value, found.reference) == (3, 1)
    assert TASK.metrics["insertions_on_silence"].lacks(MetricInput((heard("a cat", "a", "a"),)))
    assert TASK.metrics["wer"].lacks(MetricInput((heard("", "a", "a"), heard(None, "a", "a"))))


def test_tokens_agree_as_far_as_they_are_the_same() -> None:
    assert measured("token_agreement", heard(None, "abcd", "abxd")).value == pytest.approx(0.75)
    assert measured("token_agreement", heard(None, "abcd", "abcdabcd")).value == pytest.approx(0.5)
    assert measured("token_agreement", heard(None, "", "")).value == 1


@pytest.mark.parametrize(
    ("text", "own", "told"),
    [
        ("a cat", "a cat", ""),
        ("", "a cat", "empty, where the source hears something"),
        ("", "", ""),
        ("and so " * 30, "and so it goes", "a repetition, where the source's is none: it can be written 11.7 times"),
        (
            PROSE + "and so " * 60 + PROSE,
            PROSE,
            "a repetition, where the source's is none: it can be written 1",
        ),  # more than ten times shorter
        ("और " * 90, "और " * 4, "a repetition, where the source's is none: it can be written 18"),
        ("five " * 60, "five, " * 60, ""),
        (PROSE, "", ""),
        (HINDI, "", ""),
    ],
)
def test_a_transcript_that_is_none(text: str, own: str, told: str) -> None:
    found = fault(Text(text), Text(own))
    assert found.startswith(told)
    assert bool(found) == bool(told)


@pytest.mark.parametrize("template", ["speech.py.jinja", "onnx-speech.py.jinja"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32])
def test_a_card_plays_a_clip_as_loud_as_it_was_judged(template: str, dtype: type, tmp_path: Path) -> None:
    limits = np.iinfo(dtype)
    wavfile.write(tmp_path / "a.wav", RATE, np.array([limits.min, 0, limits.max // 3, limits.max], dtype))
    source = (resources("pipeline.cards") / template).read_text()
    lines = source[source.index("rate, samples = wavfile") : source.index("{% else %}\nsamples, rate")]
    names = {"np": np, "wavfile": wavfile, "clip": tmp_path / "a.wav"}
    exec(lines, names)  # noqa: S102 - lines of a template of ours
    assert np.asarray(names["samples"]) == pytest.approx(read_clip(tmp_path / "a.wav").samples, abs=1e-6)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ({"audio": "a.wav", "transcript": "a cat"}, None),
        ({"audio": "a.wav", "transcript": ""}, None),
        ({"audio": "a.wav", "prompt": "somebody"}, None),
        ({"transcript": "a cat"}, "line 1: the key 'audio' is missing"),
        ({"audio": "b.wav"}, "line 1: there is no file 'b.wav' beside the prompts"),
        ({"audio": "a.wav", "transcript": 3}, "line 1: 'transcript' must be a text, \"\" where"),
        (
            {"audio": "a.wav", "transcript": " "},
            "line 1: 'transcript' must be a text, \"\" where",
        ),
        (
            {"audio": "a.wav", "label": "a cat"},
            "line 1: unknown key 'label'; the keys are prompt, transcript and",
        ),
        ({"audio": "a" * 300}, "line 1: there is no file 'aaaa"),
        ({"audio": "a\0.wav"}, "line 1: there is no file 'a\\x00.wav' beside the prompts"),
        (
            {"audio": 'a.wav");print("heard'},
            "line 1: the file 'a.wav\");print(\"heard' must end in a dot and at most 8 letters or digits",
        ),
        ({"audio": "/etc/passwd"}, "line 1: the file '/etc/passwd' lies outside of the prompts' folder; copy it"),
        ({"audio": "../beyond.wav"}, "line 1: the file '../beyond.wav' lies outside of the prompts' folder; copy it"),
        ({"audio": "link.wav"}, "line 1: the file 'link.wav' lies outside of the prompts' folder; copy it"),
    ],
)
def test_a_line_names_its_clip(line: dict[str, Any], told: str | None, tmp_path: Path) -> None:
    (tmp_path / "beyond.wav").touch()
    tmp_path = tmp_path / "prompts"
    tmp_path.mkdir()
    (tmp_path / "a.wav").touch()
    (tmp_path / 'a.wav");print("heard').touch()
    (tmp_path / "link.wav").symlink_to(tmp_path.parent / "beyond.wav")
    (tmp_path / "prompts.jsonl").write_text(json.dumps(line))
    found, faults = scan(tmp_path / "prompts.jsonl", TASK.form)
    if told:
        assert faults[0].startswith(told)
        return
    assert faults == []
    assert (found[0].prompt, found[0].label) == (line.get("prompt", "a"), line.get("transcript"))


@pytest.fixture(scope="session")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Whisper of random weights, which hears two seconds at once."""
    folder = tmp_path_factory.mktemp("listeners") / "tiny-whisper"
    for part in tiny.listener():
        part.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: mit\nlanguage: en\n---\n")
    return folder


def clips(folder: Path, seconds: float = 1.0, count: int = 9) -> list[dict[str, str]]:
    """Write clips that sound unlike each other, the last too long to be heard at once, and return their lines."""
    lines = []
    for number in range(count):
        sound = tone(RATE, 3.5 if number == count - 1 else seconds, 200 * 1.5**number)
        noise = np.random.default_rng(number).normal(scale=0.02 * number, size=len(sound))
        wavfile.write(folder / f"{number}.wav", RATE, (sound + noise).astype(np.float32))
        lines.append({"audio": f"{number}.wav", "transcript": f"clip number {number}" if number else ""})
    return lines


def hearing(listener: Path, lines: list[dict[str, str]], folder: Path) -> list[Text]:
    """Return what a model hears in the clips of some lines."""
    request = Request(
        task="automatic-speech-recognition",
        questions=tuple(Question(prompt=line["audio"], files={"audio": line["audio"]}) for line in lines),
        folder=folder,
        seeds=(0,),
        call={"max_new_tokens": 12},
        dtype="float32",
    )
    (out := folder / "heard").mkdir()
    given = answer(listener, request, out, lambda *_: None).given
    return [TASK.medium.open(out / one.file) for one in given]


def half_heard(listener: Path, lines: list[dict[str, str]], folder: Path) -> list[dict[str, str]]:
    """Return lines with a transcript of what random weights hear in every second clip, so that they hear something."""
    both = enumerate(zip(lines, hearing(listener, lines, folder), strict=True))
    return [line | ({"transcript": text.text} if at % 2 else {}) for at, (line, text) in both]


def recipe(desk: Desk, source: Path, lines: list[dict[str, str]], **validation: Any) -> Path:
    (desk.folder / "clips.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    require = {"wer": {"rise": {"max": 0.9}}, "insertions_on_silence": {"rise": {"worst": 9}}}
    written = {
        "source": {"path": str(source)},
        "task": "automatic-speech-recognition",
        "destination": {"namespace": "alice", "name": "tiny-whisper-{target}"},
        "targets": {"int8": {"model": {"backend": "torchao", "scheme": "int8-weight-only", "dtype": "float32"}}},
        "validation": {"prompts": "clips.jsonl", "call": {"max_new_tokens": 12}, "require": require, **validation},
        "card": {"template": "automatic-speech-recognition"},
    }
    (desk.folder / "speech.yaml").write_text(json.dumps(written))
    return desk.folder / "speech.yaml"


def test_tokens_are_shown_without_those_that_are_no_text(listener: Path, tmp_path: Path) -> None:
    short, long = hearing(listener, clips(tmp_path, count=2), tmp_path)
    assert short.language == long.language == "en"
    assert len(short.pieces) == len(short.tokens)
    assert "<|" not in "".join(short.pieces + long.pieces)


def test_a_whisper_is_made_ready_with_its_clips(desk: Desk, listener: Path) -> None:
    lines = half_heard(listener, clips(desk.folder), desk.folder)
    done = desk.publish("run", recipe(desk, listener, lines), "--stop-after", "card")  # `make demo` releases one
    assert done.code == 0, done.err
    (release,) = (desk.home / "store" / "release").iterdir()
    report = json.loads((release / "publish" / "report.json").read_text())
    found = report["metrics"]
    assert {"wer", "cer", "insertions_on_silence", "token_agreement", "real_time_factor"} <= found.keys()
    assert found["wer"]["reference"] > 0
    assert len(report["pairs"]) == 9
    assert "wer" not in report["pairs"][0]["values"]
    assert all("wer" in pair["values"] for pair in report["pairs"][1:])
    card = (release / "README.md").read_text()
    assert "pipeline_tag: automatic-speech-recognition" in card
    assert "type: wer" in card
    assert "a rise of at most 0.9" in card
    assert 'pipeline("automatic-speech-recognition"' in card
    assert len(list((release / "publish" / "questions").glob("*.wav"))) == 9


def test_what_a_clip_is_heard_by_is_that_of_the_source_whichever_file_says_it(listener: Path, tmp_path: Path) -> None:
    def differs(**values: int) -> list[str]:
        other = shutil.copytree(listener, tmp_path / "-".join(values))
        processor = json.loads((other / "processor_config.json").read_text())
        (other / "processor_config.json").unlink()
        extractor = {**processor["feature_extractor"], **values}
        (other / "preprocessor_config.json").write_text(json.dumps(extractor))
        return differences(looked(listener), looked(other))

    def looked(model: Path) -> Answers:
        clip = Question(prompt="a tone", files={"audio": clips(tmp_path, count=1)[0]["audio"]})
        request = Request(
            task="automatic-speech-recognition",
            questions=(clip,),
            folder=tmp_path,
            seeds=(0,),
            call={"max_new_tokens": 1},
            dtype="float32",
        )
        (out := tmp_path / "out").mkdir(exist_ok=True)
        return answer(model, request, out, lambda *_: None, look=True)

    assert differs(feature_size=16) == []
    assert differs(hop_length=200)[0].startswith(
        "feature_extractor is not the source's: hop_length is 200 instead of 160"
    )


def test_a_whisper_without_a_tokenizer_of_its_own_is_refused(listener: Path, tmp_path: Path) -> None:
    other = shutil.copytree(listener, tmp_path / "other")
    for file in other.glob("*token*"):
        if file.name != "tokenizer_config.json":
            file.unlink()
    with pytest.raises(WorkerError, match="and the model embeds 364: it is another model's"):
        TASK.load(other, "float32", TASK.loader)


@pytest.mark.nightly
def test_a_whisper_is_published_as_graphs_which_the_card_runs_without_torch(desk: Desk, listener: Path) -> None:
    written = recipe(desk, listener, half_heard(listener, clips(desk.folder), desk.folder))
    graphs = {"q8": {"model": {"backend": "onnx", "scheme": "q8", "dtype": "float32"}}}
    written.write_text(json.dumps({**json.loads(written.read_text()), "targets": graphs}))
    done = desk.publish("run", written)
    assert done.code == 0, done.err
    release = Path(desk.shelf.api.snapshot_download("alice/tiny-whisper-q8", local_dir=desk.folder / "release"))
    files = {path.name for path in (release / "onnx").iterdir()}
    assert files == {"encoder_model_quantized.onnx", "decoder_model_merged_quantized.onnx"}
    card = (release / "README.md").read_text()
    assert "import torch" not in card
    assert "This very file" in card


def test_clips_of_a_dataset_are_asked_and_nothing_need_be_said_in_them(desk: Desk, listener: Path) -> None:
    lines = clips(desk.folder, count=3)
    sounds = [{"bytes": (desk.folder / line["audio"]).read_bytes(), "path": line["audio"]} for line in lines]
    table = parquet(id=["none", "one", "who knows"], text=["", "clip number 1", None], audio=sounds)
    commit = push(desk.shelf, "acme/clips", {"data/test-00000-of-00001.parquet": table})
    asked = {"dataset": "acme/clips", "revision": commit, "split": "test", "column": "id", "label": "text"}
    prompts = {**asked, "files": {"audio": "audio"}}
    found = desk.engine(recipe(desk, listener, [], prompts=prompts)).prompts.prompts
    assert [(prompt.prompt, prompt.label) for prompt in found] == [
        ("none", ""),
        ("one", "clip number 1"),
        ("who knows", None),
    ]
    assert len({prompt.files["audio"] for prompt in found}) == 3


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (
            {"call": {"lenguage": "de"}},
            "lenguage is none of the arguments that a transcript is made with; did",
        ),
        ({"call": {"num_beams": "four"}}, "num_beams must be a whole number"),
        ({"call": {"task": "translation"}}, "task must be transcribe or translate, found 'translation'"),
        ({"require": {"wer": {"drop": {"max": 0.1}}}}, "unknown key 'drop'"),
        ({"require": {"wer": {}}}, "nothing is required of it; write max or rise"),
        ({"require": {"insertions_on_silence": {}}}, "nothing is required of it; write worst or rise"),
        ({"seeds": [1]}, "seeds"),
    ],
)
def test_a_recipe_has_the_words_of_its_task(wrong: Any, told: str, desk: Desk, listener: Path) -> None:
    done = desk.publish("check", recipe(desk, listener, clips(desk.folder, count=1), **wrong))
    assert done.code == 2
    assert told in done.out


def test_a_model_for_one_language_is_asked_for_none(desk: Desk, listener: Path) -> None:
    """``generate`` refuses both words there, which would be known after everything was quantized."""
    written = recipe(desk, listener, clips(desk.folder, count=1), call={"language": "en", "task": "transcribe"})
    done = desk.publish("plan", written)
    assert done.code == 2
    assert "WhisperForConditionalGeneration takes no 'language': it knows one language" in done.out + done.err
    assert "takes no 'task'" in done.out + done.err
    other = shutil.copytree(listener, desk.folder / "several")
    told = json.loads((other / "generation_config.json").read_text())
    (other / "generation_config.json").write_text(json.dumps({**told, "is_multilingual": True}))
    assert desk.publish("plan", recipe(desk, other, clips(desk.folder, count=1), call={"language": "en"})).code == 0


def test_a_clip_that_is_none_ends_before_anything_is_made(desk: Desk, listener: Path) -> None:
    lines = clips(desk.folder, count=3)
    (desk.folder / "1.wav").write_bytes(b"")
    done = desk.publish("run", recipe(desk, listener, lines))
    assert done.code == 2
    assert "The file that is asked with '1' cannot be opened: the file is empty; record it again" in done.error


def test_a_recipe_is_begun_for_a_whisper(desk: Desk, listener: Path) -> None:
    begun = desk.publish("init", listener, "--for", "cpu", "--namespace", "alice", "--out", desk.folder / "w.yaml")
    assert begun.code == 0, begun.err
    written = (desk.folder / "w.yaml").read_text()
    assert "task: automatic-speech-recognition" in written
    assert "wer: {rise: {max: 0.03}}" in written
    assert "call:" not in written
    assert "already" not in begun.out
    assert desk.publish("check", desk.folder / "w.yaml").code == 0
