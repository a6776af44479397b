"""Asks diffusers or transformers what it makes of a component; run as a process of its own by `linears.ask`.

Reads a `Question` a line from stdin, builds each model on the meta device, lets the library's own quantizer work on
it, and writes an `Answer` each as the last lines of stdout. No weight is read and no memory is taken for one.
"""

from __future__ import annotations

import copy
import json
import re
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.checkpoint.linears import Answer, Conversion, Question

if TYPE_CHECKING:
    import torch

FLOATS = {"F64", "F32", "F16", "BF16"}


class Refusal(Exception):  # noqa: N818  it travels to the asking process as data
    """Why a question has no answer; ``kind`` is a key of `linears.ERRORS`."""

    def __init__(self, kind: str, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.kind, self.what, self.remedy = kind, what, remedy


@dataclass
class Prepared:
    """A model on the meta device after the library's quantizer has worked on it.

    Attributes:
        model: The model, with the library's own modules in place of those it converts.
        quantizer: The library's quantizer.
        modules: The model's modules as they were before.
        parameters: Its parameters and persistent buffers as they were before, in order.
        fp32: Names that diffusers keeps in float32.
    """

    model: Any
    quantizer: Any
    modules: dict[str, Any]
    parameters: dict[str, Any]
    fp32: tuple[str, ...] = ()

    def linears(self) -> list[str]:
        """Return the names of the modules whose weight the scheme may take: Linear and GPT-2's ``Conv1D``."""
        from transformers.pytorch_utils import Conv1D

        torch = sys.modules["torch"]
        return [name for name, module in self.modules.items() if isinstance(module, (torch.nn.Linear, Conv1D))]

    def converted(self) -> set[str]:
        """Return the names of the modules whose ``weight`` the library will quantize."""
        return {name for name in self.linears() if self.takes(f"{name}.weight")}

    def takes(self, parameter: str) -> bool:
        """Return what the library's own loader would decide for a parameter."""
        if hasattr(self.quantizer, "param_needs_quantization"):
            return bool(self.quantizer.param_needs_quantization(self.model, parameter))
        return bool(self.quantizer.check_if_quantized_param(self.model, None, parameter, {}))


def answer(question: Question) -> Answer:
    """Ask the library about a component.

    Raises:
        Refusal: The tensors, the class or ``keep`` do not fit.
    """
    first = prepare(question, None)
    wanted = first.converted()
    if question.keep:
        wanted -= matching(question.keep, first.linears())
        skip = spell(question, first, wanted)
        prepared = prepare(question, skip)
        agree(question, prepared.converted(), wanted)
    else:
        prepared = first
    by_default = first.converted()
    kept = {name: "keep" if name in by_default else f"left alone by {question.library}" for name in prepared.linears()}
    return Answer(
        conversions=follow_tensors(question, prepared),
        parameters=tuple(prepared.parameters),
        kept={name: reason for name, reason in kept.items() if name not in wanted},
        config=config_text(question, prepared),
    )


def prepare(question: Question, skip: list[str] | None) -> Prepared:
    """Build the model without weights and let the library's quantizer preprocess it."""
    settings = copy.deepcopy(question.quantization)
    if skip is not None:
        settings[question.skip.key] = skip
    return (_prepare_diffusers if question.library == "diffusers" else _prepare_transformers)(question, settings)


def _prepare_diffusers(question: Question, settings: dict[str, Any]) -> Prepared:
    """Follow ``ModelMixin.from_pretrained`` of diffusers 0.42."""
    import diffusers
    import torch
    from accelerate import init_empty_weights
    from diffusers.quantizers.auto import DiffusersAutoQuantizer

    cls = known_class(diffusers, question)
    quantizer = DiffusersAutoQuantizer.from_config(settings, pre_quantized=False)
    with init_empty_weights():
        model = cls.from_config({**question.config, "quantization_config": quantizer.quantization_config})
    modules, parameters = dict(model.named_modules()), model.state_dict(keep_vars=True)
    fp32 = cls._keep_in_fp32_modules or []
    fp32 = fp32 if isinstance(fp32, list) else [fp32]
    # Set by validate_environment, which refuses machines without a GPU and is not called here.
    quantizer.offload = False
    quantizer.preprocess_model(model=model, device_map={"": torch.device("cpu")}, keep_in_fp32_modules=list(fp32))
    return Prepared(model, quantizer, modules, parameters, tuple(fp32))


def _prepare_transformers(question: Question, settings: dict[str, Any]) -> Prepared:
    """Follow ``PreTrainedModel.from_pretrained`` of transformers 5.23."""
    import torch
    import transformers
    from transformers.modeling_utils import local_torch_dtype
    from transformers.quantizers.auto import AutoHfQuantizer, AutoQuantizationConfig

    cls = known_class(transformers, question)
    config = cls.config_class.from_dict(copy.deepcopy(question.config))
    dtype = getattr(torch, question.dtype)
    with local_torch_dtype(dtype, cls.__name__), torch.device("meta"):
        model = cls(config)
    modules, parameters = dict(model.named_modules()), model.state_dict(keep_vars=True)
    quantizer = AutoHfQuantizer.from_config(AutoQuantizationConfig.from_dict(settings), pre_quantized=False)
    quantizer.offload_to_cpu = False
    with torch.device("meta"):
        quantizer.preprocess_model(model=model, dtype=dtype, device_map={"": "cpu"}, checkpoint_files=None)
    return Prepared(model, quantizer, modules, parameters)


def known_class(package: Any, question: Question) -> Any:
    """Return the component's class from its package, never from anywhere else."""
    cls = getattr(package, question.class_name, None)
    if not isinstance(cls, type):
        raise Refusal(
            "source",
            f"The installed {question.library} has no class {question.class_name}.",
            "Only classes of the library itself are loaded; custom code is never run.",
        )
    return cls


def matching(patterns: Iterable[str], names: list[str]) -> set[str]:
    """Return the modules that patterns name: exactly, by glob, or as a container of them."""
    found = set()
    for pattern in patterns:
        hit = {name for name in names if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")}
        if not hit:
            raise Refusal(
                "keep", f"keep: {pattern!r} names no Linear module.", f"There are, for example, {', '.join(names[:3])}."
            )
        found |= hit
    return found


def spell(question: Question, prepared: Prepared, wanted: set[str]) -> list[str]:
    """Spell the modules to leave alone the way this library compares them."""
    left = [name for name in prepared.linears() if name not in wanted]
    if question.skip.spelling == "leaf":
        return sorted({name.rpartition(".")[2] for name in left})
    if question.skip.spelling == "parameter" and question.library == "diffusers":
        return [f"{name}.weight" for name in left]
    if question.library == "transformers":
        return [re.escape(name) if question.skip.spelling == "module" else f"{re.escape(name)}.weight" for name in left]
    return left


def agree(question: Question, converted: set[str], wanted: set[str]) -> None:
    """Refuse a ``keep`` that the library would understand otherwise.

    Raises:
        Refusal: The library would keep more or fewer modules than the recipe says.
    """
    if converted == wanted:
        return
    more, fewer = sorted(wanted - converted), sorted(converted - wanted)
    also = f"would also keep {', '.join(more[:4])}" if more else f"would still convert {', '.join(fewer[:4])}"
    raise Refusal(
        "keep",
        f"{question.quantization['quant_method']} in {question.library} cannot keep {', '.join(question.keep)} alone: "
        f"it matches names more loosely than that and {also}.",
        "Name those modules too, for example with a glob such as '*proj_out', or use another backend.",
    )


def follow_tensors(question: Question, prepared: Prepared) -> dict[str, Conversion]:
    """Follow every tensor of the source into the model, in the model's order.

    Raises:
        Refusal: The model misses a tensor, or does not know one.
    """
    places = name_tensors(question, prepared)
    strangers = sorted(set(question.tensors) - set(places.values()) - ignorable(question, prepared))
    if strangers:
        raise Refusal("source", f"{question.class_name} has no tensor {strangers[0]!r} (one of {len(strangers)}).")
    tied = getattr(prepared.model, "all_tied_weights_keys", None) or {}
    partners = {**{origin: copy for copy, origin in tied.items()}, **tied}
    conversions: dict[str, Conversion] = {}
    for parameter in prepared.parameters:
        if parameter in tied and tied[parameter] in places:
            continue
        if parameter in places:
            conversions[places[parameter]] = convert(question, prepared, places[parameter], parameter)
        elif partners.get(parameter) not in places:
            raise Refusal("source", f"The tensor {parameter!r} of {question.class_name} is missing from the source.")
    return conversions


def name_tensors(question: Question, prepared: Prepared) -> dict[str, str]:
    """Return for every parameter the name its tensor has in the source's files."""
    known = prepared.parameters
    if question.library == "diffusers":
        names = {name: name for name in question.tensors}
        prepared.model._fix_state_dict_keys_on_load(names)
        return {parameter: source for parameter, source in names.items() if parameter in known}
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

    mapping = get_model_conversion_mapping(prepared.model)
    renamings = [entry for entry in mapping if isinstance(entry, WeightRenaming)]
    converters = [entry for entry in mapping if isinstance(entry, WeightConverter)]
    prefix = prepared.model.base_model_prefix
    places = {}
    for source in question.tensors:
        parameter, merged = rename_source_key(source, renamings, converters, prefix, known)
        if parameter not in known and source in known:
            parameter, merged = rename_source_key(source, [], [], prefix, known)
        if merged is not None:
            raise Refusal(
                "source",
                f"transformers merges or splits {source!r} while it loads {question.class_name}.",
                "Such components cannot be streamed yet; leave this component out of the target.",
            )
        if parameter in known:
            places[parameter] = source
    return places


def ignorable(question: Question, prepared: Prepared) -> set[str]:
    """Return the tensors of the source that the library itself declares it drops on loading."""
    patterns = getattr(prepared.model, "_keys_to_ignore_on_load_unexpected", None) or []
    return {name for name in question.tensors if any(re.search(pattern, name) for pattern in patterns)}


def convert(question: Question, prepared: Prepared, source: str, parameter: str) -> Conversion:
    """Decide on one tensor as the library's loader does."""
    header, held = question.tensors[source], prepared.parameters[parameter]
    if tuple(held.shape) != header.shape:
        wanted = f"{question.class_name} wants {list(held.shape)}"
        raise Refusal("source", f"The tensor {source!r} has shape {list(header.shape)}, {wanted}.")
    module = prepared.modules[parameter.rpartition(".")[0]]
    taken = parameter.endswith(".weight") and prepared.takes(parameter)
    return Conversion(
        parameter=parameter,
        dtype=dtype_of(question, prepared, header.dtype, parameter),
        quantized=taken,
        transposed=taken and type(module).__name__ == "Conv1D",
    )


def dtype_of(question: Question, prepared: Prepared, stored: str, parameter: str) -> str:
    """Return the torch dtype in which the library holds a tensor after loading; integers keep theirs."""
    import torch

    if stored not in FLOATS:
        return stored
    dtype: torch.dtype = getattr(torch, question.dtype)
    if question.library == "diffusers":
        dtype = torch.float32 if set(prepared.fp32) & set(parameter.split(".")) else dtype
    else:
        dtype = _planned_dtype(prepared, dtype, parameter)
    return str(dtype).removeprefix("torch.")


def _planned_dtype(prepared: Prepared, dtype: torch.dtype, parameter: str) -> torch.dtype:
    """Follow the loader of transformers: modules planned in float32, else the dtype that the model was built in."""
    from transformers.core_model_loading import build_glob_alternation

    plan: dict[str, torch.dtype] = prepared.model._get_dtype_plan(dtype)
    if plan:
        alternatives, groups, _ = build_glob_alternation(list(plan))
        if found := alternatives.search(parameter):
            return plan[groups[found.lastgroup]]
    held: torch.dtype = prepared.parameters[parameter].dtype
    return dtype if prepared.takes(parameter) else held


def config_text(question: Question, prepared: Prepared) -> str:
    """Return ``config.json`` as the library writes it, without the path that it loaded from."""
    model = prepared.model
    with tempfile.TemporaryDirectory() as folder:
        if question.library == "diffusers":
            model.save_config(folder)
        else:
            model.config.quantization_config = prepared.quantizer.quantization_config
            model.config.dtype = question.dtype
            model.config.architectures = [question.class_name]
            model.config.save_pretrained(folder)
        return (Path(folder) / "config.json").read_text()


def say(question: Question) -> dict[str, Any]:
    """Return the answer to a question, or why there is none, as JSON."""
    try:
        return answer(question).model_dump(mode="json")
    except Refusal as refusal:
        return {"error": refusal.kind, "what": refusal.what, "remedy": refusal.remedy}
    except ImportError as error:
        remedy = "Install the backend's extra, for example pip install 'quantpress[all]'."
        return {"error": "environment", "what": f"A library is missing or broken: {error}.", "remedy": remedy}


def main() -> None:
    """Answer the questions on stdin, one a line, with one line each at the end of stdout."""
    questions = [Question.model_validate_json(line) for line in sys.stdin]
    answers = [say(question) for question in questions]
    sys.stdout.write("".join(f"\n{json.dumps(said)}" for said in answers) + "\n")


if __name__ == "__main__":
    main()
