"""A model of transformers as GGUF: in llama.cpp's names, read bit for bit by transformers, answering in llama.cpp."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import numpy as np
import pytest
import sentencepiece
import torch
import transformers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Tokenizers

from pipeline.backends.gguf.given import Tokenizer, read_as
from pipeline.backends.gguf.llama_cpp import ARCHITECTURES, FACTORS, Decoder, laid_out, named, tensors_of
from pipeline.backends.gguf.models import opened
from pipeline.backends.gguf.vocabulary import SPLITS, merged, scores_of
from pipeline.backends.oracle.conversion import ask_ahead
from pipeline.card.render import render
from pipeline.errors import PublishError
from pipeline.lint import lint
from pipeline.lint.spelled import Spelled
from pipeline.lint.subject import Subject
from pipeline.plan.model import question_of
from pipeline.quantize.folder import QuantizeRequest, quantize_source
from pipeline.quantize.formats import gguf as gguf_form
from pipeline.recipe import Quantization
from pipeline.source.layout import Folder, read_single, read_slots
from pipeline.tasks.loading import opened_apart
from tests.packing.llama import Model

TEXT = "It's 12345 foxes;  two spaces\n\nAnd déjà vu 東京 😀<end> don't"
SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 320}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "initializer_range": 0.3}
T5 = {"vocab_size": 320, "d_model": 64, "d_kv": 16, "d_ff": 96, "num_layers": 2, "num_heads": 4}
ROPE = {
    "rope_type": "llama3", "rope_theta": 5000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
MARKS = "e\u0301 \u00e9 \u0438\u0439 \u0939\u093f\u0928\u094d\u0926\u0940 \u0e44\u0e17\u0e22"
CAPITALS = "\u00c9t\u00c9"
TEXTS = (
    TEXT, "", " ", "  ", "   two  and    four", "fox", "the foxes' boxes", "don't DON'T", "a\nb\r\n\r\n\tc ",
    "it's  1234567 and 12",
    MARKS, CAPITALS, "camelCase HTTPServer", "a/b//c /", "\u2581fox \u2581", "<0x0A>", "=====", "<s>fox</s> fox<unk>",
    "\u00a0\u3000x\u200b", "👩‍👩‍👧", "whole whole",
)  # fmt: skip
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "LlamaForCausalLM": ("LlamaConfig", {**SIZES, **HEADS, "tie_word_embeddings": False, "rope_parameters": ROPE}),
    "MistralForCausalLM": ("MistralConfig", {**SIZES, **HEADS, "initializer_range": 0.2, "sliding_window": 96}),
    "Qwen2ForCausalLM": ("Qwen2Config", {**SIZES, **HEADS, "tie_word_embeddings": True}),
    "Qwen3ForCausalLM": ("Qwen3Config", {**SIZES, **HEADS, "head_dim": 32, "tie_word_embeddings": True}),
    "Qwen3Model": ("Qwen3Config", {**SIZES, **HEADS, "head_dim": 32}),
    "T5EncoderModel": ("T5Config", {**T5, "feed_forward_proj": "gated-gelu"}),
    "UMT5EncoderModel": ("UMT5Config", {**T5, "feed_forward_proj": "gated-gelu"}),
}
DECODERS = [name for name in MODELS if name.endswith("CausalLM")]
Q8 = Quantization(backend="gguf", scheme="q8_0", options={"layers": {}, "names": "diffusers"}, dtype="float32", keep=())


MERGES = [("e", "s"), ("Ġ", "t"), ("Ġt", "w"), ("1", "2"), ("3", "4"), ("o", "x")]


def tokenizer(*, split: str = "qwen2", merges: Sequence[tuple[str, str]] = MERGES) -> Any:
    """Return a tokenizer of bytes with some merges, which ends each text with ``<end>``."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = dict.fromkeys([*alphabet, *("".join(pair) for pair in merges), "Ġwhole"])  # which no merge makes
    told, whole = SPLITS[split]
    made = Tokenizers(models.BPE({token: at for at, token in enumerate(tokens)}, merges, ignore_merges=whole))
    steps: dict[str, Any] = {
        "Split": lambda told: pre_tokenizers.Split(Regex(told), "isolated"),
        "Digits": pre_tokenizers.Digits,
        "ByteLevel": lambda told: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=told),
    }
    made.pre_tokenizer = pre_tokenizers.Sequence([steps[kind](one) for kind, one in told])
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken("<end>", special=True)])
    made.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    end = made.token_to_id("<end>")
    made.post_processor = processors.TemplateProcessing(single="$A <end>", special_tokens=[("<end>", end)])
    found = transformers.PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>")
    found.chat_template = "{{ messages[0].content }}"
    return found


@cache
def merges_across() -> list[tuple[str, str]]:
    """Merges of all that is in `TEXTS`, across words too, so that tokens tell where a text was split."""
    made = Tokenizers(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    texts = [text for text in TEXTS if not re.search("whole|</s>", text)]  # of "</s>" llama.cpp makes one of its own
    made.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=4000, min_frequency=1, show_progress=False))
    return [tuple(pair) for pair in json.loads(made.to_str())["model"]["merges"]]


@cache
def sentencepiece_model() -> sentencepiece.SentencePieceProcessor:
    """A vocabulary that sentencepiece learns of a few lines, with the settings of Llama's."""
    lines = ["the fox in the box", "foxes  and    oxes", "don't", "it's a fox", "12345 1234", "=== ==== ===="]
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=content, model_type="bpe", vocab_size=316, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, allow_whitespace_only_pieces=True,
        minloglevel=2, num_threads=1,
    )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(model_proto=content.getvalue())


def sentencepiece_tokenizer(steps: str = "llama") -> Any:
    """Return the tokenizers library's form of that vocabulary, which begins each text with ``<s>``."""
    pieces = sentencepiece_model()
    known = {pieces.id_to_piece(number): number for number in range(pieces.get_piece_size())}
    parts = [(token[:at], token[at:]) for token in known for at in range(1, len(token))]
    merges = [pair for pair in parts if pair[0] in known and pair[1] in known]
    merges.sort(key=lambda pair: -pieces.get_score(known["".join(pair)]))
    made = Tokenizers(models.BPE(known, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if steps == "llama":
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    elif steps == "replaced":
        made.normalizer = normalizers.Replace(" ", "▁")
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=steps, split=False)
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in ("<unk>", "<s>", "</s>")])
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def wanted(name: str) -> Quantization:
    return Q8.model_copy(update={"keep": ("*layers.1.mlp",)}) if name == "Qwen2ForCausalLM" else Q8


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder a model, named after its class, quantized to q8_0 in ``<class>-gguf``; one keeps a part of a layer."""
    root = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    asked = []
    for name, (config, sizes) in MODELS.items():
        model = getattr(transformers, name)(getattr(transformers, config)(**sizes))
        for parameter in model.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)  # norms and biases, too
        model.save_pretrained(root / name)
        (sentencepiece_tokenizer if name == "MistralForCausalLM" else tokenizer)().save_pretrained(root / name)
        place = Folder(root / name)
        (part,) = read_single(place).components.values()
        asked.append(question_of(place, part, wanted(name), read_slots(place, part)))
    ask_ahead(asked, root / "answers")
    for name in MODELS:
        place = Folder(root / name)
        order = QuantizeRequest(wanted(name))
        quantize_source(place, read_single(place), order, root / f"{name}-gguf", root, lambda _: None)
    return root


def file_of(made: Path, name: str) -> Path:
    (found,) = (made / f"{name}-gguf").glob("*.gguf")
    return found


@pytest.mark.parametrize("name", MODELS)
def test_transformers_reads_every_number_that_the_file_holds(name: str, made: Path) -> None:
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(file_of(made, name)).tensors}
    kind = transformers.AutoModelForCausalLM if name in DECODERS else getattr(transformers, name)
    loaded = opened(kind, made / f"{name}-gguf", torch.float32)
    source = kind.from_pretrained(made / name, dtype=torch.float32)
    del loaded.config.quantization_config
    assert type(loaded) is type(source)
    assert loaded.config.to_diff_dict() == source.config.to_diff_dict()
    kinds = {tensor.tensor_type.name for tensor in stored.values()}
    assert kinds == {"F32", "Q8_0"}
    assert stored["token_embd.weight"].tensor_type.name == "Q8_0"
    marked = {parameter for parameter, held in loaded.named_parameters() if hasattr(held, "unpacked_of")}
    assert len(marked) == sum(tensor.tensor_type.name == "Q8_0" for tensor in stored.values())
    for parameter, held in loaded.state_dict().items():
        plain = source.state_dict()[parameter]
        kept = any(fnmatchcase(parameter, f"{pattern}.*") for pattern in wanted(name).keep)
        if plain.ndim == 1 or "relative" in parameter or kept:
            assert torch.equal(held, plain), parameter
        else:
            assert 0 < (held - plain).norm() / plain.norm() < 0.01, parameter


@pytest.mark.parametrize("name", ["LlamaForCausalLM", "MistralForCausalLM"])
def test_the_snippet_of_a_card_opens_what_the_source_is(name: str, made: Path) -> None:
    values = {
        "plan": SimpleNamespace(repository=str(made / f"{name}-gguf"), files=("generation_config.json",)),
        "apart": {"model": SimpleNamespace(file=file_of(made, name).name, class_name=name)},
        "question": SimpleNamespace(messages=()),
        "imports": [], "foreign": (), "dtype": "float32", "prompt": "fox", "call": {"max_new_tokens": 1},
    }  # fmt: skip
    found: dict[str, Any] = {}
    exec(render("causal_lm.py.jinja", values), found)  # noqa: S102  the snippet's own lines
    source = transformers.AutoConfig.from_pretrained(made / name)
    assert type(found["model"]).__name__ == name
    assert found["model"].config.rope_parameters == source.rope_parameters


def test_what_a_recipe_keeps_is_not_in_blocks_and_nothing_else(made: Path) -> None:
    stored = gguf.GGUFReader(file_of(made, "Qwen2ForCausalLM")).tensors
    plain = {tensor.name for tensor in stored if tensor.tensor_type.name == "F32" and tensor.name.endswith("weight")}
    assert {name for name in plain if "norm" not in name} == {
        f"blk.1.ffn_{part}.weight" for part in ("gate", "up", "down")
    }


@pytest.mark.parametrize("name", ["LlamaForCausalLM", "T5EncoderModel"])
def test_a_file_is_compared_with_a_folder_of_transformers(name: str, made: Path) -> None:
    def spell(base: Subject) -> Spelled:
        return tensors_of(name, base.config, {name: tensor.shape for name, tensor in base.tensors.items()})

    found = lint(Folder(made / f"{name}-gguf"), Folder(made / name), spell=spell)
    (model,) = found.models
    assert not found.everything
    assert (model.matched, model.unmatched) == (model.tensors, 0)
    assert min(layer.sqnr for layer in model.layers) > 40


def test_positions_that_are_not_stretched_as_the_config_says_are_told(made: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(made / "LlamaForCausalLM-gguf", tmp_path / "unstretched")
    (file,) = folder.glob("*.gguf")
    (factors,) = (one for one in gguf.GGUFReader(file, "r+").tensors if one.name == FACTORS)
    factors.data[:] = 1
    factors.data.base.flush()

    def spell(base: Subject) -> Spelled:
        shapes = {name: tensor.shape for name, tensor in base.tensors.items()}
        return tensors_of("LlamaForCausalLM", base.config, shapes)

    (fault,) = lint(Folder(folder), Folder(made / "LlamaForCausalLM"), spell=spell).everything
    assert (fault.rule, fault.tensor) == ("layer-degenerate", FACTORS)


def test_an_encoder_is_opened_apart_from_its_pipeline(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "T5EncoderModel-gguf", tmp_path / "text_encoder_2")
    index = {"_class_name": "FluxPipeline", "text_encoder_2": ["transformers", "T5EncoderModel"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    found = opened_apart(None, tmp_path, {"dtype": torch.bfloat16})["text_encoder_2"]
    assert (type(found), found.dtype) == (transformers.T5EncoderModel, torch.bfloat16)
    assert found.config.dense_act_fn == "gelu_new"  # of the file alone transformers 5.23 makes relu


@pytest.mark.parametrize("name", MODELS)
def test_names_are_those_of_the_gguf_package(name: str, made: Path) -> None:
    known = ARCHITECTURES[name]
    theirs = gguf.get_tensor_name_map(next(k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == known.name), 2)
    modules = {module.format(1): target.format(1) for module, target in known.modules.items()}
    assert {module: theirs.get_name(module) for module in modules} == modules
    assert {*modules} & {"norm", "shared"}


@pytest.mark.parametrize("name", DECODERS)
def test_llama_cpp_cuts_texts_and_answers_as_transformers_does(name: str, made: Path) -> None:
    read = Model(file_of(made, name))
    tokens = transformers.AutoTokenizer.from_pretrained(made / name)(TEXT)["input_ids"]
    assert read.tokens(TEXT) == tokens
    model = opened(transformers.AutoModelForCausalLM, made / f"{name}-gguf", torch.float32)
    source = transformers.AutoModelForCausalLM.from_pretrained(made / name, dtype=torch.float32)
    found = read.expected(tokens)
    # The source, too: rows that lie in a wrong order are read back in one by transformers, which answers the same then.
    for other, least in ((model, 0.999), (source, 0.99)):
        with torch.no_grad():
            logits = other(torch.tensor([tokens])).logits[0, -1].numpy()
        assert np.corrcoef(found, logits)[0, 1] > least


def in_llama_cpp(found: Any, folder: Path) -> Model:
    """A tokenizer as llama.cpp has it, of a file that holds nothing else."""
    found.save_pretrained(folder)
    keys = laid_out("LlamaForCausalLM", SIZES | HEADS | {"vocab_size": len(found)}, {}, reader(folder)).keys
    return vocabulary_of(keys, folder)


def vocabulary_of(keys: dict[str, Any], folder: Path) -> Model:
    header = gguf_form.header({}, keys)
    (folder / "vocabulary.gguf").write_bytes(gguf_form.prefix(header, gguf_form.start(len(header))))
    return Model(folder / "vocabulary.gguf", vocabulary=True)


@pytest.mark.parametrize("split", [*SPLITS, "llama"])
def test_llama_cpp_cuts_every_text_as_the_source_does(split: str, tmp_path: Path) -> None:
    found = sentencepiece_tokenizer() if split == "llama" else tokenizer(split=split, merges=merges_across())
    read = in_llama_cpp(found, tmp_path)
    apart = [text for text in TEXTS if read.tokens(text) != found(text)["input_ids"]]
    # llama.cpp's tekken counts marks among no letters, and takes capitals beyond ASCII for small ones as well
    assert apart == ([MARKS, CAPITALS] if split == "tekken" else [])


@pytest.mark.parametrize("steps", ["replaced", "never", "first", "always"])
def test_sentencepiece_is_told_with_and_without_a_space_before_a_text(steps: str, tmp_path: Path) -> None:
    found = sentencepiece_tokenizer(steps)
    read = in_llama_cpp(found, tmp_path)
    texts = [text for text in TEXTS if steps in {"replaced", "never"} or not re.search(r"^[ ▁]|<s>|</s>|<unk>", text)]
    assert len(texts) > 8
    assert {text: read.tokens(text) for text in texts} == {text: found(text)["input_ids"] for text in texts}


def words_tokenizer(normalizer: Any, split: Any) -> Tokenizers:
    """Return a tokenizer of T5's kind, whose words sentencepiece learns of a few lines."""
    pieces = words_model()
    vocabulary = [(pieces.id_to_piece(number), pieces.get_score(number)) for number in range(pieces.get_piece_size())]
    made = Tokenizers(models.Unigram(vocabulary, 2))
    made.normalizer, made.pre_tokenizer = normalizer, split
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in ("<pad>", "</s>", "<unk>")])
    made.add_special_tokens([AddedToken("<extra_id_0>", lstrip=True, rstrip=True, special=True, normalized=False)])
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return made


@cache
def words_model() -> sentencepiece.SentencePieceProcessor:
    """A vocabulary of T5's kind, with its table of characters."""
    lines = ["the fox in the box", "foxes  and    oxes", "don't", "it's a fox", "12345 1234", "=== ====", "déjà vu"]
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=content, model_type="unigram", vocab_size=60, bos_id=-1,
        normalization_rule_name="nmt_nfkc", pad_id=0, eos_id=1, unk_id=2, hard_vocab_limit=False, minloglevel=2,
        num_threads=1,
    )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(model_proto=content.getvalue())


SPACED_OUT = (" ", "  ", "a\nb\r\n\r\n\tc ", "\u2581fox \u2581", "\u00a0\u3000x\u200b", "fox </s> fox")


@pytest.mark.parametrize(
    ("age", "otherwise"), [("2020", ()), ("2023", SPACED_OUT), ("new", ()), ("without a table", ("\u2581fox \u2581",))]
)
def test_llama_cpp_cuts_texts_into_the_words_of_a_t5(age: str, otherwise: tuple[str, ...], tmp_path: Path) -> None:
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(words_model().serialized_model_proto())
    table = proto.normalizer_spec.precompiled_charsmap
    split = pre_tokenizers.Metaspace(prepend_scheme="always")
    spaces = [normalizers.Strip(left=False), normalizers.Replace(Regex(" {2,}"), "▁")]
    made = {
        "2020": lambda: words_tokenizer(
            normalizers.Precompiled(table), pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), split])
        ),
        "2023": lambda: words_tokenizer(
            normalizers.Sequence([normalizers.Precompiled(table), normalizers.Replace(Regex(" {2,}"), " ")]), split
        ),
        "new": lambda: words_tokenizer(normalizers.Sequence([normalizers.Precompiled(table), *spaces]), split),
        "without a table": lambda: words_tokenizer(normalizers.Sequence(spaces), split),
    }[age]()
    files = {"tokenizer.json": made.to_str().encode(), "tokenizer_config.json": b'{"eos_token": "</s>"}'}
    config = {**T5, "vocab_size": made.get_vocab_size() + 3, "feed_forward_proj": "gated-gelu"}
    read = vocabulary_of(laid_out("T5EncoderModel", config, {}, files.get).keys, tmp_path)
    texts = [*TEXTS, " a  <extra_id_0>  b<extra_id_0>", "fox </s> fox"]
    texts += [] if age == "without a table" else ["ﬁ ½ \uff21", "\u3000fox"]
    assert tuple(text for text in texts if read.tokens(text) != made.encode(text).ids) == otherwise


def test_what_llama_cpp_merges_is_what_sentencepiece_does(tmp_path: Path) -> None:
    read, pieces = in_llama_cpp(sentencepiece_tokenizer("first"), tmp_path), sentencepiece_model()
    texts = [text for text in TEXTS if not re.search("<s>|</s>|<unk>", text)]
    assert {text: read.tokens(text) for text in texts} == {text: [1, *pieces.encode(text)] for text in texts}


def config_of(made: Path, name: str) -> dict[str, Any]:
    return dict(getattr(transformers, MODELS[name][0]).from_pretrained(made / name).to_dict())


def reader(folder: Path) -> Any:
    return lambda name: (folder / name).read_bytes() if (folder / name).is_file() else None


def test_a_header_tells_the_tokenizer(made: Path) -> None:
    reads = gguf.GGUFReader(file_of(made, "Qwen2ForCausalLM")).fields
    told = {key: field.contents() for key, field in reads.items()}
    known = transformers.AutoTokenizer.from_pretrained(made / "Qwen2ForCausalLM")
    tokens, kinds = told["tokenizer.ggml.tokens"], told["tokenizer.ggml.token_type"]
    end, think = known.convert_tokens_to_ids(["<end>", "<think>"])
    assert (tokens[end], kinds[end], kinds[think], kinds[0]) == ("<end>", 3, 4, 1)
    assert (tokens[-1], kinds[-1], len(tokens), len(kinds)) == ("[PAD319]", 5, 320, 320)
    assert told["tokenizer.ggml.eos_token_id"] == end
    assert (told["tokenizer.ggml.add_bos_token"], told["tokenizer.ggml.add_eos_token"]) == (False, True)
    assert told["tokenizer.chat_template"] == "{{ messages[0].content }}"
    assert told["general.architecture"] == "qwen2"
    read = transformers.AutoTokenizer.from_pretrained(
        made / "Qwen2ForCausalLM-gguf", gguf_file=file_of(made, "Qwen2ForCausalLM").name
    )
    assert read(TEXT)["input_ids"] == known(TEXT)["input_ids"]


def test_a_header_tells_which_tokens_are_bytes(made: Path) -> None:
    told = gguf.GGUFReader(file_of(made, "MistralForCausalLM")).fields
    kinds = told["tokenizer.ggml.token_type"].contents()
    assert (kinds[:3], kinds[3:259], kinds[259]) == ([3, 3, 3], [6] * 256, 1)
    name = file_of(made, "MistralForCausalLM").name
    read = transformers.AutoTokenizer.from_pretrained(made / "MistralForCausalLM-gguf", gguf_file=name)
    known = transformers.AutoTokenizer.from_pretrained(made / "MistralForCausalLM")
    assert read(TEXT)["input_ids"] == known(TEXT)["input_ids"]


def test_what_a_file_cannot_tell_is_refused_by_name(made: Path, tmp_path: Path) -> None:
    tokenizer().save_pretrained(tmp_path)
    config, read = config_of(made, "LlamaForCausalLM"), reader(tmp_path)
    stretched = {"rope_parameters": {"rope_type": "yarn", "rope_theta": 5e5}}
    spoiled = tmp_path / "spoiled"
    other = tokenizer()
    other.backend_tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    other.save_pretrained(spoiled)
    refused = {
        "Of GemmaForCausalLM, llama.cpp's names are not known; they are of LlamaForCausalLM, ": (
            "GemmaForCausalLM", config, {}, read,
        ),
        "A GGUF of llama has rope_type 'default' or 'llama3', and this LlamaForCausalLM has 'yarn'": (
            "LlamaForCausalLM", config | stretched, {}, read,
        ),
        "llama.cpp has no name for 'model.layers.0.extra.weight' of LlamaForCausalLM": (
            "LlamaForCausalLM", config, {"model.layers.0.extra.weight": (1,)}, read,
        ),
        "A GGUF holds the tokenizer, and there is no tokenizer.json": ("LlamaForCausalLM", config, {}, lambda _: None),
        "splits texts in a way that no name of llama.cpp is known for \\(Whitespace\\)": (
            "LlamaForCausalLM", config, {}, reader(spoiled),
        ),
        "has a token 264, and the model only 10 of them": ("LlamaForCausalLM", config | {"vocab_size": 10}, {}, read),
    }  # fmt: skip
    for sentence, given in refused.items():
        with pytest.raises(PublishError, match=sentence):
            laid_out(*given)


def test_merges_that_scores_do_not_tell_are_refused() -> None:
    known = {token: number for number, token in enumerate(["a", "b", "c", "ab", "bc", "abc", "</s>", "<", "/s>"])}
    pairs = [("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc")]
    assert scores_of(known, pairs, {"</s>"}) == [0, 0, 0, -1, -2, -3, 0, 0, 0]
    with pytest.raises(PublishError, match="in an order that scores of tokens do not tell"):
        scores_of(known | {"cc": 9}, [pairs[0], *pairs[:0:-1], ("ab", "c")], {"</s>"})
    with pytest.raises(PublishError, match="does not merge 'a' and 'bc'"):
        scores_of(known, pairs[:3], {"</s>"})


def test_a_vocabulary_without_bytes_or_of_other_steps_is_refused() -> None:
    told = json.loads(sentencepiece_tokenizer("first").backend_tokenizer.to_str())
    del told["model"]["vocab"]["<0x41>"]
    with pytest.raises(PublishError, match="lacks tokens of single bytes"):
        merged(read_as(Tokenizer, told, "It"))
    told["pre_tokenizer"]["split"] = True
    with pytest.raises(PublishError, match=r"no name of llama.cpp is known for \(Metaspace\)"):
        merged(read_as(Tokenizer, told, "It"))


LINEAR = {"rope_type": "linear", "factor": 8.0}
BARE = {"num_attention_heads": 2, "num_key_value_heads": 2, "hidden_size": 8, "num_hidden_layers": 1,
        "max_position_embeddings": 8, "intermediate_size": 8, "vocab_size": 320}  # fmt: skip


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"rope_theta": 500000},
        {"rope_parameters": {"rope_theta": 5.0}, "rope_scaling": LINEAR},
        {"rope_parameters": LINEAR, "rope_scaling": {"type": "default", "rope_theta": 7.0}, "rope_theta": 9.0},
        {"rope_parameters": LINEAR, "rope_scaling": None, "rope_theta": 9.0},
        {"rope_parameters": ROPE},
    ],
)
def test_positions_are_stretched_as_transformers_reads_the_config(said: dict[str, Any]) -> None:
    theirs = transformers.LlamaConfig(**BARE | said)
    held = read_as(Decoder, BARE | said, "It")
    assert (held.rope_type, held.turning) == tuple(theirs.rope_parameters[key] for key in ("rope_type", "rope_theta"))


def test_each_half_of_a_head_takes_its_turn_in_a_llama_alone() -> None:
    shapes = {"model.layers.0.self_attn.q_proj.weight": (8, 4)}
    rows = tensors_of("LlamaForCausalLM", BARE, shapes)["blk.0.attn_q.weight"].rows
    assert [begin for head in rows for begin, _ in head.sources(0, 4, 1)] == [0, 2, 1, 3, 4, 6, 5, 7]
    assert len(tensors_of("Qwen3ForCausalLM", BARE, shapes)["blk.0.attn_q.weight"].rows) == 1
    assert named(ARCHITECTURES["Qwen2ForCausalLM"], "x", "model.layers.11.mlp.up_proj.weight") == "blk.11.ffn_up.weight"
