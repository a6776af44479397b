"""What ``PreTrainedModel.from_pretrained`` and ``save_pretrained`` of transformers 5.23 make of a component.

Names in a file differ from those in the model, experts are merged while they are loaded and parted when they are
saved, tied weights are written once. None of it is guessed: the library's own loader and writer run over tensors
without content, and what became of each is looked up.

Part of the child process that asks the libraries; see `pipeline.checkpoint.library`.
"""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.checkpoint.library_model import (
    Followed,
    Place,
    Prepared,
    Refusal,
    known_class,
    refuse_missing,
    refuse_shape,
    refuse_strangers,
)
from pipeline.checkpoint.linears import Question

if TYPE_CHECKING:
    import torch

UNFIT = "Such components cannot be streamed; leave this component out of the target."

Sources = dict[str, list[str]]
"""The source's tensors that the loader puts together to each tensor of the model."""


def prepare(question: Question, settings: dict[str, Any]) -> Prepared:
    """Build the model without weights and let the library's quantizer preprocess it."""
    import torch
    from transformers.modeling_utils import _get_dtype
    from transformers.quantizers.auto import AutoQuantizationConfig, get_hf_quantizer

    config = read_config(question)
    wanted = AutoQuantizationConfig.from_dict(settings)
    quantizer, config, device_map = get_hf_quantizer(config, wanted, {"": "cpu"}, True, {})
    config, dtype = _get_dtype(getattr(torch, question.dtype), None, config, None, None, True, quantizer)
    model = build(question, config, dtype)
    refuse_unquantizable(question, model)
    modules = dict(model.named_modules(remove_duplicate=False))
    parameters = model.state_dict(keep_vars=True)
    with torch.device("meta"):
        quantizer.preprocess_model(model=model, dtype=dtype, device_map=device_map, checkpoint_files=None)
    return Prepared(model, quantizer, modules, parameters)


def refuse_unquantizable(question: Question, model: Any) -> None:
    """Refuse a class that transformers fails to quantize with torchao: it looks for input embeddings in all of them.

    Raises:
        Refusal: The class does not say which are its input embeddings.
    """
    if question.quantization["quant_method"] == "torchao":
        try:
            model.get_input_embeddings()
        except NotImplementedError as error:
            what = f"transformers cannot quantize {question.class_name} with torchao: it names no input embeddings."
            raise Refusal("library", what, "Choose another backend for this component.") from error


def read_config(question: Question) -> Any:
    """Return the class's config as it reads it from a file, which may be that of a larger model around it."""
    import transformers

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(question.config))
        config = known_class(transformers, question).config_class.from_pretrained(folder)
    config.name_or_path = ""
    return config


def build(question: Question, config: Any, dtype: torch.dtype) -> Any:
    """Build the model on the meta device, in the circumstances in which the library does."""
    import transformers
    from transformers.utils.generic import ContextManagers

    cls = known_class(transformers, question)
    with ContextManagers(cls.get_init_context(dtype, True, False, False)):
        return cls(copy.deepcopy(config))


def follow(question: Question, prepared: Prepared) -> Followed:
    """Let the library load and save the source's tensors without their content, and look up where each went.

    Raises:
        Refusal: The model misses a tensor, does not know one or wants another shape, or it holds tensors in a form
            that the library does not write back.
    """
    import torch

    model = build(question, prepared.model.config, getattr(torch, question.dtype))
    sources = renamed(question, model)
    missing = load(question, model, sources)
    repeated = tie(question, model, sources, missing)
    places = written(question, prepared, model, sources)
    unsaved = set(model._keys_to_ignore_on_save or ())
    gone = {name for key, names in sources.items() if key not in unsaved for name in names}
    if gone := gone - places.keys() - repeated.keys():
        what = f"transformers loads {min(gone)!r} into {question.class_name} and does not write it again."
        raise Refusal("source", what, UNFIT)
    return Followed(places, repeated)


def renamed(question: Question, model: Any) -> Sources:
    """Return the source's tensors by the model's tensor that takes them, as the library's loader names them."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key

    mapping = get_model_conversion_mapping(model)
    renamings = [entry for entry in mapping if isinstance(entry, WeightRenaming)]
    converters = [entry for entry in mapping if isinstance(entry, WeightConverter)]
    known, prefix = model.state_dict(), model.base_model_prefix
    found: Sources = {}
    for source in sorted(question.tensors, key=dot_natural_key):  # some renamings begin with the first name they meet
        name, _ = rename_source_key(source, renamings, converters, prefix, known)
        if name not in known and source in known:
            name, _ = rename_source_key(source, [], [], prefix, known)
        if name in known:
            found.setdefault(name, []).append(source)
    return found


def load(question: Question, model: Any, sources: Sources) -> set[str]:
    """Run the library's loader over empty tensors, and return the names of the model that nothing was loaded for.

    Raises:
        Refusal: Names or shapes do not fit.
    """
    import torch
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import convert_and_load_state_dict_in_model
    from transformers.modeling_utils import LoadStateDictConfig

    dtype, mapping = getattr(torch, question.dtype), get_model_conversion_mapping(model)
    empty = {name: torch.empty(part.shape, dtype=dtype, device="meta") for name, part in question.tensors.items()}
    settings = LoadStateDictConfig(device_map={"": "meta"}, dtype=dtype, weight_mapping=mapping)
    said, _ = convert_and_load_state_dict_in_model(model, empty, settings, None)
    for name, stored, wanted in sorted(said.mismatched_keys):
        refuse_shape(question, sources[name][0], tuple(stored), tuple(wanted))
    for name, reason in said.conversion_errors.items():
        what = f"transformers cannot put together {name!r} of {question.class_name}: {reason.strip().splitlines()[-1]}."
        raise Refusal("source", what, UNFIT)
    missing = set(said.missing_keys)
    model._adjust_missing_and_unexpected_keys(said)  # drops what the class declares that it may do without
    refuse_strangers(question, said.unexpected_keys)
    return missing


def tie(question: Question, model: Any, sources: Sources, missing: set[str]) -> dict[str, str]:
    """Tie weights as the library does after loading, and return the source's tensors that only repeat another.

    A weight that is there under both of its names is taken for the same twice, as files from before safetensors have
    it; whoever streams the content holds it to that.

    Raises:
        Refusal: A tensor is missing and no other stands for it.
    """
    repeated = {}
    for copied, origin in model.all_tied_weights_keys.items():
        there = copied in sources and origin in sources and not missing & {copied, origin}
        if there and model.get_parameter(copied).shape == model.get_parameter(origin).shape:
            (copied_from,), (origin_from,) = sources.pop(copied), sources[origin]
            repeated[copied_from] = origin_from
            missing.add(copied)
    model.tie_weights(missing_keys=missing, recompute_mapping=False)
    refuse_missing(question, missing - set(model._keys_to_ignore_on_save or ()))
    return repeated


def written(question: Question, prepared: Prepared, model: Any, sources: Sources) -> dict[str, Place]:
    """Run the library's writer, and return where each of the source's tensors went.

    Raises:
        Refusal: It writes tensors that the source does not have under those names.
    """
    from transformers.core_model_loading import revert_weight_conversion
    from transformers.modeling_utils import remove_tied_weights_from_state_dict

    owners = {id(model.get_parameter_or_buffer(name)): name for name in sources}
    group = {source: name for name, parts in sources.items() for source in parts}
    unsaved = set(model._keys_to_ignore_on_save or ())
    state = {name: held for name, held in model.state_dict().items() if name not in unsaved}
    state = remove_tied_weights_from_state_dict(state, model)
    names = {id(held): name for name, held in state.items()}
    places = {}
    for name, held in revert_weight_conversion(model, state).items():
        if id(held) in names:  # written as it was loaded
            parameter = owners[id(model.get_parameter_or_buffer(names[id(held)]))]
            source, fits = sources[parameter][0], len(sources[parameter]) == 1
        else:  # parted again from what the loader put together
            parameter, source = group.get(name, ""), name
            fits = bool(parameter) and not prepared.quantizes(parameter)
        if not fits or tuple(held.shape) != question.tensors[source].shape:
            what = f"transformers would write {name!r} of {question.class_name} in another form than the source has it."
            raise Refusal("source", what, UNFIT)
        places[source] = Place(parameter, name)
    return places


def dtype_of(question: Question, prepared: Prepared, stored: str, parameter: str) -> str:  # noqa: ARG001  as diffusers
    """Return the torch dtype of a tensor after loading: what the model plans in float32, else what it was built in."""
    import torch
    from transformers.core_model_loading import build_glob_alternation

    dtype: torch.dtype = getattr(torch, question.dtype)
    plan: dict[str, torch.dtype] = prepared.model._get_dtype_plan(dtype)
    held = prepared.parameters[parameter].dtype
    if plan:
        alternatives, groups, _ = build_glob_alternation(list(plan))
        if found := alternatives.search(parameter):
            return spelled(plan[groups[found.lastgroup]])
    return spelled(dtype if prepared.quantizes(parameter) else held)


def spelled(dtype: torch.dtype) -> str:
    """Return a dtype's name."""
    return str(dtype).removeprefix("torch.")


def config_text(question: Question, prepared: Prepared) -> str:
    """Return ``config.json`` as the library writes it, without the path that it loaded from."""
    model = prepared.model
    prepared.quantizer.postprocess_model(model)
    model.config.dtype = dtype_of_model(question, prepared)
    model.config.architectures = [question.class_name]
    with tempfile.TemporaryDirectory() as folder:
        model.config.save_pretrained(folder)
        return (Path(folder) / "config.json").read_text()


def dtype_of_model(question: Question, prepared: Prepared) -> str:
    """Return the dtype of the first parameter that is one of floats once the model is loaded."""
    whole = prepared.quantizer.quantization_config.quant_method == "torchao"  # its tensors keep the dtype they had
    for name, _ in prepared.model.named_parameters():
        known = prepared.parameters.get(name)
        if known is not None and known.is_floating_point() and (whole or not prepared.quantizes(name)):
            return dtype_of(question, prepared, "F32", name)
    return question.dtype
