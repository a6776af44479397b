"""The loader and the writer of transformers 5.23, run over tensors without content to see what becomes of each.

Names in a file differ from those in the model, experts are merged while they are loaded and parted when they are
saved, tied weights are written once. None of it is guessed.

Part of the child process that asks the libraries; see `pipeline.backends.oracle.worker`.
"""

from __future__ import annotations

from typing import Any

from pipeline.backends.oracle.conversion import ConversionRequest
from pipeline.backends.oracle.model import (
    Followed,
    Place,
    Prepared,
    refuse_missing,
    refuse_shape,
    refuse_strangers,
)
from pipeline.worker.child import WorkerError

UNFIT = "Such components cannot be streamed; leave this component out of the target."

Sources = dict[str, list[str]]
"""The source's tensors that the loader puts together to each tensor of the model."""


def rehearse(question: ConversionRequest, prepared: Prepared, model: Any) -> Followed:
    """Let the library load and save the source's tensors without their content, and look up where each went.

    Args:
        question: The component.
        prepared: Its model after the quantizer worked on it.
        model: The same, without a quantizer; it is used up.

    Raises:
        WorkerError: The model misses a tensor, does not know one or wants another shape, or it holds tensors in a form
            that the library does not write back.
    """
    sources, changed = renamed(question, model)
    missing = load(question, model, sources)
    repeated = tie(question, model, sources, missing)
    refuse_changed(question, prepared, model, sources, changed)
    places = written(question, model, sources)
    name_pieces(question, prepared, model, places)
    unsaved = set(model._keys_to_ignore_on_save or ())
    gone = {name for key, names in sources.items() if key not in unsaved for name in names}
    if gone := gone - places.keys() - repeated.keys():
        what = f"transformers loads {min(gone)!r} into {question.class_name} and does not write it again."
        raise WorkerError("source", what, UNFIT)
    return Followed(places, repeated)


def renamed(question: ConversionRequest, model: Any) -> tuple[Sources, set[str]]:
    """Return the source's tensors by the model's tensor that takes them, as the library's loader names them.

    Of a tensor that is parted the first part stands for all. The second result are the model's tensors that are not
    taken as they are.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key

    mapping = get_model_conversion_mapping(model)
    renamings = [entry for entry in mapping if isinstance(entry, WeightRenaming)]
    converters = [entry for entry in mapping if isinstance(entry, WeightConverter)]
    known, prefix = model.state_dict(), model.base_model_prefix
    found: Sources = {}
    changed = set()
    for source in sorted(question.tensors, key=dot_natural_key):  # some renamings begin with the first name they meet
        name, converter = rename_source_key(source, renamings, converters, prefix, known)
        if name not in known and source in known:
            name, converter = rename_source_key(source, [], [], prefix, known)
        if name in known:
            found.setdefault(name, []).append(source)
            changed |= {name} if converter else set()
    return found, changed


def load(question: ConversionRequest, model: Any, sources: Sources) -> set[str]:
    """Run the library's loader over empty tensors, and return the names of the model that nothing was loaded for.

    Raises:
        WorkerError: Names or shapes do not fit.
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
        refuse_shape(question, sources.get(name, [name])[0], tuple(stored), tuple(wanted))
    for name, reason in said.conversion_errors.items():
        what = f"transformers cannot put together {name!r} of {question.class_name}: {reason.strip().splitlines()[-1]}."
        raise WorkerError("source", what, UNFIT)
    missing = set(said.missing_keys)
    model._adjust_missing_and_unexpected_keys(said)  # drops what the class declares that it may do without
    refuse_strangers(question, said.unexpected_keys)
    return missing


def tie(question: ConversionRequest, model: Any, sources: Sources, missing: set[str]) -> dict[str, str]:
    """Tie weights as the library does after loading, and return the source's tensors that only repeat another.

    A weight that is there under both of its names is taken for the same twice, as files from before safetensors have
    it; whoever streams the content holds it to that.

    Raises:
        WorkerError: A tensor is missing and no other stands for it.
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


def refuse_changed(
    question: ConversionRequest, prepared: Prepared, model: Any, sources: Sources, changed: set[str]
) -> None:
    """Refuse weights that the loader puts together, parts or turns and that are quantized: the writer cannot undo it.

    Raises:
        WorkerError: There are such weights.
    """
    held = {id(model.get_parameter_or_buffer(name)) for name in sources}
    state = model.state_dict(keep_vars=True)
    parted = {name for name, parameter in state.items() if id(parameter) not in held}  # all but the first of its parts
    if quantized := sorted(name.removesuffix(".weight") for name in changed | parted if prepared.quantizes(name)):
        leaves = ", ".join(sorted({f"'*{name.rpartition('.')[2]}'" for name in quantized}))
        what = f"transformers merges or parts tensors to make {quantized[0]!r} (one of {len(quantized)}) of"
        keep = f"Keep such modules as they are with keep: [{leaves}], or leave this component out."
        raise WorkerError("source", f"{what} {question.class_name}, and cannot undo it once they are quantized.", keep)


def written(question: ConversionRequest, model: Any, sources: Sources) -> dict[str, Place]:
    """Run the library's writer, and return where each of the source's tensors went.

    Raises:
        WorkerError: It writes tensors that the source does not have under those names.
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
        else:  # made again of what the loader made of it
            parameter, source, fits = group.get(name, ""), name, name in group
        if not fits or tuple(held.shape) != question.tensors[source].shape:
            what = f"transformers would write {name!r} of {question.class_name} in another form than the source has it."
            raise WorkerError("source", what, UNFIT)
        places[source] = Place(parameter, name)
    return places


def name_pieces(question: ConversionRequest, prepared: Prepared, model: Any, places: dict[str, Place]) -> None:
    """Name quantized weights after their pieces, which some renamings of the writer miss: they end with ``weight``.

    Raises:
        WorkerError: The codes and their scales would be written under different names.
    """
    import torch
    from transformers.core_model_loading import revert_weight_conversion

    piece = prepared.quirks.piece(prepared.quantizer.quantization_config)
    if piece is None:
        return
    quantized = {place.parameter: source for source, place in places.items() if prepared.quantizes(place.parameter)}
    pieces = {name.removesuffix("weight") + piece.name: torch.empty(0, device="meta") for name in quantized}
    sources = {id(held): quantized[name.removesuffix(piece.name) + "weight"] for name, held in pieces.items()}
    for name, held in revert_weight_conversion(model, pieces).items():
        place = places[sources[id(held)]]
        weight = name.removesuffix(piece.name) + "weight"
        if not name.endswith(piece.name) or not (piece.alone or weight == place.written):
            what = f"transformers would write the scales of {question.class_name} as {name!r}, apart from their codes."
            raise WorkerError("recipe", what, "Choose another backend or scheme for this component.")
        places[sources[id(held)]] = Place(place.parameter, weight)
