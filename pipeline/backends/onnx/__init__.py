"""ONNX: a component as a graph that onnxruntime and transformers.js run, its matrices as integers or in float16.

No optimum takes part: torch's own exporter writes the graph, onnxruntime's own functions quantize it. The source's
config stays as it is, since transformers reads no such graph: the file tells how its weights are quantized.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

from pydantic import Field

from pipeline.backends import build as by_library
from pipeline.backends.artifact import Form
from pipeline.backends.oracle.quirks import Quirks
from pipeline.backends.protocol import Calibrated, Loader, Options, Scheme, Skip
from pipeline.source.chat_template import TOKENIZER
from pipeline.source.layout import GRAPHS

EXTRA = "onnx"
DISTRIBUTION = "onnxruntime"
PACKAGE = "onnxruntime"
SKIP: Skip = {"key": "modules_to_not_convert", "spelling": "module"}
FORM = Form(GRAPHS, config=False, rewrites=(TOKENIZER,))

REFUSES = {"diffusers": "components of diffusers are not exported as graphs"}
RUNS_ON = "onnxruntime on any processor; torch is not needed"


class Embeddings(Options):
    """What a scheme takes beside Linear layers.

    Attributes:
        embeddings: Whether tables of embeddings that are taller than wide are quantized as well, as a vocabulary is.
    """

    embeddings: bool = True


class Static(Calibrated, Embeddings):
    """How activations get one scale each, which is saved with the weights."""


class Blocks(Embeddings):
    """How weights are quantized in blocks of one row.

    Attributes:
        block_size: Values with one scale.
        symmetric: Whether there is no zero point beside the scale.
        accuracy_level: 4 computes with activations of 8 bits, which is faster; less with those that there are.
    """

    block_size: Literal[16, 32, 64, 128, 256] = 32
    symmetric: bool = False
    accuracy_level: int = Field(default=4, ge=0, le=4)


class FourBits(Blocks):
    """How weights of 4 bits are quantized.

    Attributes:
        embedding_bits: Of tables of embeddings, and of the matrix for which a vocabulary serves as well.
    """

    embedding_bits: Literal[4, 8] = 4


SCHEMES = {
    "fp16": Scheme(
        "float16 weights and matrix products, all else in float32",
        RUNS_ON,
        73.5,
        options=Embeddings,
        refuses=REFUSES,
        suffix="_fp16",
        bits=16.0,
        dtype="float32",
    ),
    "int8": Scheme(
        "integers of 7 bits in a byte with one scale an output, activations of 8 bits with one scale a call",
        RUNS_ON,
        41.2,
        options=Embeddings,
        refuses=REFUSES,
        suffix="_quantized",
        bits=8.1,
        dtype="float32",
        activations="dynamic",
    ),
    "int8-static": Scheme(
        "integers of 7 bits in a byte with one scale an output, activations of 8 bits with one scale a matrix, read "
        "off while the source answered questions",
        RUNS_ON,
        41.2,
        options=Static,
        refuses=REFUSES,
        suffix="_quantized",
        bits=8.1,
        dtype="float32",
        activations="static",
    ),
    "q8": Scheme(
        "8-bit integers in blocks with a scale (MatMulNBits)",
        RUNS_ON,
        45.0,
        options=Blocks,
        refuses=REFUSES,
        bits=9.25,
        dtype="float32",
        suffix="_quantized",
    ),
    "q4": Scheme(
        "4-bit integers in blocks with a scale (MatMulNBits)",
        RUNS_ON,
        20.8,
        options=FourBits,
        refuses=REFUSES,
        bits=5.13,
        dtype="float32",
        suffix="_q4",
    ),
}
LOADERS = {
    "transformers": Loader(
        devices=("cpu",),
        form=FORM,
        opens="pipeline.backends.onnx.runtime:opened",
        how="onnxruntime on the CPU",
        teaches="pipeline.backends.onnx.quantizer",
        usage="onnx",
        spares=("torch", "accelerate"),
        line='onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])',
        library="onnx",
    )
}

build, quirks = partial(by_library.build, worker="pipeline.backends.onnx.worker", form=FORM), Quirks


def configuration(scheme: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the graph is quantized with; no library writes it into a config."""
    return {"quant_method": "onnx", "scheme": scheme, **options}
