"""Advice: which backend and scheme for which need, each with what shows it.

What this project measured or tests is told as such; what others claim is told as their claim, with where they do it. A
need that nothing here serves says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from pipeline.backends import SCHEMES
from pipeline.errors import RecipeError
from pipeline.recipe.problems import nearest

COLUMNS: Final = ("need", "choose", "because", "what shows it")
RECORDED: Final = "tests/unit/recorded/{}/report.json"
BY_BACKEND: Final = "https://huggingface.co/datasets/derekl35/diffusers-quantization-benchmarks"
COMPILED: Final = "https://github.com/huggingface/blog/pull/2852"
TORCHAO: Final = "https://github.com/sayakpaul/diffusers-torchao"


@dataclass(frozen=True)
class Evidence:
    """What shows that a row is true.

    Attributes:
        kind: A ``test`` of this project, a ``benchmark`` or a ``report`` of it, or what somebody ``upstream`` claims.
        where: The test's node id, a name in ``benchmarks/results.json``, the path of a report, or an address.
        words: What it shows; of a benchmark or a report with a place for its number.
        at: Where the number is in the benchmark or report, its keys joined by dots.
        number: The number, as it stands there.
    """

    kind: Literal["test", "benchmark", "report", "upstream"]
    where: str
    words: str
    at: str = ""
    number: float = 0.0

    @property
    def told(self) -> str:
        """What it shows, with its number."""
        return self.words.format(self.number)

    @property
    def text(self) -> str:
        """The evidence in one line."""
        return f"{self.kind}: {self.told} ({self.where})"

    @property
    def markdown(self) -> str:
        """The same with a link, from a page in `docs/`."""
        if self.kind == "upstream":
            return f"[upstream's claim]({self.where}): {self.told}"
        path, _, name = self.where.partition("::")
        place = "benchmarks/README.md" if self.kind == "benchmark" else path
        return f"[{self.kind}](../{place}) {f'`{name}`: ' if name else ''}{self.told}"


@dataclass(frozen=True)
class Row:
    """What to choose for a need.

    Attributes:
        need: Its word on the command line.
        title: The need in words.
        choose: Backends with a scheme each, the first choice first; none where nothing here serves it.
        because: Why, and what to mind.
        evidence: What shows it.
    """

    need: str
    title: str
    choose: tuple[tuple[str, str], ...]
    because: str
    evidence: tuple[Evidence, ...]

    def json(self) -> dict[str, Any]:
        """Return the row for programs."""
        shown = [{"kind": found.kind, "where": found.where, "shows": found.told} for found in self.evidence]
        choose = [
            {"backend": backend, "scheme": scheme, "activations": SCHEMES[backend][scheme].activations}
            for backend, scheme in self.choose
        ]
        return {"need": self.need, "choose": choose, "because": self.because, "evidence": shown}

    @property
    def choice(self) -> str:
        """What to choose, in words."""
        return ", else ".join(told(*one) for one in self.choose) or "nothing here yet"


def told(backend: str, scheme: str) -> str:
    """Return a scheme in words, with what becomes of activations where its name does not say it."""
    activations = SCHEMES[backend][scheme].activations
    return f"{backend} {scheme}" + (f" ({activations})" if activations not in scheme else "")


ROWS: Final = (
    Row(
        "real-time",
        "real-time on NVIDIA",
        (("torchao", "float8-dynamic"), ("torchao", "int8-weight-only")),
        "Both compiled; the first needs a card of capability 8.9. Neither was timed on a GPU by this project yet.",
        (
            Evidence(
                "upstream", TORCHAO, "FLUX.1-dev on an H100, 28 steps: 6.57 s, compiled 4.21 s, as float8 rows 2.97 s"
            ),
            Evidence("upstream", COMPILED, "FLUX.1-dev, int8 weights: 15 s, compiled 8 s; the source 12 s"),
        ),
    ),
    Row(
        "cpu",
        "low latency on a CPU",
        (("torchao", "int8-dynamic"),),
        "Compiled, on a processor with AMX. Not compiled, 8-bit weights save memory and cost time. diffusers loads no "
        "bitsandbytes on a CPU.",
        (
            Evidence(
                "upstream",
                "https://pytorch.org/blog/high-performance-quantized-llm-inference-on-intel-cpus-with-native-pytorch",
                "compiled, 8-bit weights and activations use AMX; shown for a language model of 8B parameters",
            ),
            Evidence(
                "report",
                RECORDED.format("torchao-int8"),
                "digits on two cores, int8-weight-only not compiled: {:.2f} times the source's seconds",
                "metrics.latency.ratio.number",
                1.6786,
            ),
            Evidence(
                "test",
                "tests/contract/test_backends.py::test_a_library_loads_unaided_or_there_is_a_way_to_lift_what_stops_it",
                "which libraries load on a CPU",
            ),
        ),
    ),
    Row(
        "web",
        "web and phones",
        (("onnx", "q8"),),
        "Text embedders, Whisper and language models, as transformers.js and onnxruntime read them. int8 is smaller, "
        "for embedders and Whisper: it quantizes activations as well, of which language models take harm. For "
        "those q4 is smaller. No phone was tried.",
        (
            Evidence(
                "test",
                "tests/browser/test_in_browser.py::test_a_page_answers_from_the_hub_as_the_source_does",
                "a page in Chromium loads an embedder from the Hub and answers as its source does",
            ),
            Evidence(
                "test",
                "tests/tasks/test_onnx.py::test_an_encoder_is_published_as_a_graph_which_loads_and_is_made_again",
                "an embedder is published as a graph, loaded by the card's snippet and made again",
            ),
            Evidence(
                "test",
                "tests/graphs/test_generation.py::test_whisper_writes_what_the_model_does",
                "a Whisper writes by its graphs what it writes by torch",
            ),
        ),
    ),
    Row(
        "memory",
        "small memory",
        (("bitsandbytes", "nf4"), ("quanto", "int4")),
        "With `double_quant: true`, and the text encoders too. quanto takes no text encoder, and diffusers drops it in "
        "1.0.0.",
        (
            Evidence(
                "report",
                RECORDED.format("bnb-nf4"),
                "digits, transformer and T5: {:.2f} of the source's bytes",
                "metrics.size_ratio.value",
                0.3790517535609914,
            ),
            Evidence(
                "report",
                RECORDED.format("bnb-nf4"),
                "at {:.1f} dB to the source's pictures",
                "metrics.psnr.value",
                40.35878533943724,
            ),
            Evidence(
                "benchmark",
                "nf4-24",
                "making it of 24 GB takes {:,.0f} bytes of memory",
                "ours.peak_bytes",
                267493376,
            ),
            Evidence(
                "upstream",
                BY_BACKEND,
                "FLUX.1-dev takes 31.4 GB and 12 s a picture, nf4 12.6 GB and 12 s, quanto int4 12.3 GB and 109 s",
            ),
        ),
    ),
    Row(
        "one-file",
        "one file, for llama.cpp and others",
        (("gguf", "q8_0"), ("gguf", "q4_k")),
        "diffusers opens it by `from_single_file` and unpacks each layer whenever it is called, which costs time. "
        "Language models have llama.cpp's names, which answers from the file by itself; LM Studio and Ollama, which "
        "are made of it, were not run.",
        (
            Evidence(
                "test",
                "tests/unit/test_gguf_file.py::test_a_file_is_that_of_the_package",
                "a file is the gguf package's own, byte for byte",
            ),
            Evidence(
                "test",
                "tests/contract/test_gguf.py::test_diffusers_opens_what_the_file_says",
                "diffusers opens it with the blocks that were written",
            ),
            Evidence(
                "test",
                "tests/contract/test_llama_cpp.py::test_llama_cpp_cuts_texts_and_answers_as_transformers_does",
                "llama.cpp answers from a Llama, a Mistral, a Qwen2 and a Qwen3",
            ),
        ),
    ),
    Row(
        "comfyui",
        "ComfyUI",
        (("comfy", "int8-convrot"), ("gguf", "q8_0")),
        "ComfyUI multiplies codes with codes, activations having 8 bits too, and so does what judges here. ComfyUI "
        "itself was not run, and nothing was timed on a GPU.",
        (
            Evidence(
                "test",
                "tests/contract/test_comfy.py"
                "::test_what_a_family_has_in_one_tensor_is_quantized_as_one_and_opened_in_parts",
                "a file in the family's names is comfy-kitchen's own, byte for byte, and is read back",
            ),
            Evidence(
                "test",
                "tests/contract/test_comfy.py::test_activations_of_int8_are_quantized_as_in_comfyui",
                "activations are quantized as comfy-kitchen does",
            ),
        ),
    ),
    Row(
        "blackwell",
        "Blackwell and Ada cards",
        (("bfl", "nvfp4"), ("bfl", "fp8")),
        "By `from_single_file` of diffusers 0.42, whose layers multiply codes with codes: nvfp4 on cards since "
        "capability 10.0 with FlashInfer, fp8 since 8.9. Elsewhere each is unpacked whenever it is called. Neither was "
        "run on a GPU here. Before nvfp4 is made, the whole source answers questions.",
        (
            Evidence(
                "test",
                "tests/contract/test_bfl.py"
                "::test_what_a_family_has_in_one_tensor_is_quantized_as_one_and_opened_in_parts",
                "diffusers opens a file in the family's names as the layers that multiply so",
            ),
            Evidence(
                "test",
                "tests/tasks/test_inputs.py::test_it_is_measured_on_the_first_questions_once_for_all_targets",
                "the scale of nvfp4's activations is what the source's layers were given",
            ),
            Evidence(
                "upstream",
                "https://developer.nvidia.com/blog/introducing-nvfp4-for-efficient-and-accurate-low-precision-inference",
                "NVFP4 is made for Blackwell's tensor cores, and takes 1.8 times less memory than FP8",
            ),
        ),
    ),
    Row(
        "server",
        "vLLM and sglang",
        (("compressed-tensors", "fp8-dynamic"), ("compressed-tensors", "w4a16")),
        "Language models and text encoders of transformers, which unpacks the weights at the first call and rounds "
        "activations as the scheme says. w4a16 wants a `group_size` that divides its rows. Neither server was run.",
        (
            Evidence(
                "test",
                "tests/contract/test_schemes.py::test_streaming_writes_what_the_library_writes",
                "tensors and config are those that compressed-tensors' own ModelCompressor writes, byte for byte",
            ),
            Evidence(
                "test",
                "tests/contract/test_compressed_tensors.py::test_transformers_computes_with_what_was_written",
                "transformers loads it on a CPU and rounds activations where the scheme says so",
            ),
        ),
    ),
    Row(
        "embedded",
        "embedded and boards",
        (("torchao", "int8-weight-only"),),
        "The recipe tries it within a board's memory and threads (`device:` under `validation:`), on the processor of "
        "the machine that judges; report and card say what it took. No Arm board ran it yet.",
        (
            Evidence(
                "test",
                "tests/uses/test_device.py::test_a_model_answers_within_a_board_s_memory_on_one_thread",
                "a model is loaded and answers on one thread that may have 4 GB",
            ),
            Evidence(
                "test",
                "tests/uses/test_device.py::test_less_memory_than_the_libraries_take_is_a_failure_that_says_what_ended_it",
                "with less than it takes it fails",
            ),
        ),
    ),
    Row(
        "lora",
        "LoRA",
        (("torchao", "int8-weight-only"), ("bitsandbytes", "nf4")),
        "Fused into the source before it is quantized (`how: fused`) a LoRA suits every scheme. One that users load "
        "themselves is tried by the recipe (`how: loaded`) and judged by its effect.",
        (
            Evidence(
                "test",
                "tests/uses/test_fusing.py::test_fused_bytes_are_those_that_diffusers_fuses_and_saves",
                "fused weights are diffusers' own, byte for byte",
            ),
            Evidence(
                "test",
                "tests/uses/test_lora.py::test_a_lora_has_its_effect_on_an_int8_target",
                "a LoRA is loaded onto int8-weight-only and moves its pictures as it moves the source's",
            ),
            Evidence(
                "upstream",
                "https://arxiv.org/abs/2305.14314",
                "adapters of a language model of 65B parameters are trained on nf4 on one GPU of 48 GB",
            ),
        ),
    ),
    Row(
        "compile",
        "`torch.compile`",
        (("torchao", "int8-weight-only"), ("torchao", "float8-weight-only")),
        "The recipe tries it (`compile:` under `validation:`), and the report says what it gained.",
        (
            Evidence(
                "upstream", COMPILED, "FLUX.1-dev, int8 and float8 weights 8 s each after 851 s and 545 s of compiling"
            ),
            Evidence(
                "upstream",
                "https://github.com/PrunaAI/pruna/pull/45",
                "on an L40S bitsandbytes int8 takes 28.5 s, compiled 23.7 s, the source 23.6 s; quanto fails",
            ),
            Evidence(
                "test",
                "tests/uses/test_compile.py::test_a_compiled_component_is_counted_timed_and_compared",
                "graph breaks, seconds and pictures are measured of a compiled component",
            ),
        ),
    ),
)


def rows_for(needs: str) -> list[Row]:
    """Return the rows of some needs, separated by commas; all where none is named.

    Raises:
        RecipeError: There is no such need.
    """
    known = {row.need: row for row in ROWS}
    words = [word.strip() for word in needs.split(",") if word.strip()]
    for word in words:
        if word not in known:
            meant = nearest(word, known)
            guess = f" Did you mean {meant!r}?" if meant else ""
            remedy = f"The needs are {', '.join(known)}."
            raise RecipeError(f"Nothing is advised for {word!r}.{guess}", where="--for", remedy=remedy)
    return [known[word] for word in words] or list(ROWS)


def markdown(rows: list[Row]) -> str:
    """Return rows as a table in Markdown."""
    head = [" | ".join(COLUMNS), " | ".join("---" for _ in COLUMNS)]
    lines = [
        " | ".join(
            (row.title, row.choice, row.because, "; ".join(found.markdown for found in row.evidence) or "nothing")
        )
        for row in rows
    ]
    return "\n".join(f"| {line} |" for line in (*head, *lines))
