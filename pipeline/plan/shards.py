"""The files of a result: which tensors a component becomes, which file each lies in, and in what order.

Follows the libraries' naming and size rules: whoever loads the result finds what the library would have written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from pipeline.backends.oracle.conversion import Conversion, ConversionPlan
from pipeline.backends.oracle.single_file import Rows, SingleFile
from pipeline.errors import RecipeError
from pipeline.files import pretty_json
from pipeline.source import gguf
from pipeline.source.classes import WEIGHTS_NAME
from pipeline.source.safetensors import DTYPE_SIZES, STORED_DTYPES, Specs, TensorInfo, size_of

Layout = Callable[[str, tuple[int, ...], str], Specs]
"""Returns the tensors that are saved for a weight of a name, a shape (out, in) and a torch dtype."""

MATRIX: Final = 2  # axes
SHARD_LIMIT: Final = {"diffusers": 10 * 10**9, "transformers": 50 * 10**9}  # bytes; the libraries' own defaults


@dataclass(frozen=True)
class Shard:
    """One file of the result: the source tensors that it takes, and the tensors that it holds, as they are made.

    Those that are ``scattered`` are made of several of the source, or of some in another order.
    """

    name: str
    sources: tuple[str, ...]
    tensors: Specs
    scattered: frozenset[str] = frozenset()


@dataclass
class Weights:
    """The result of one component: its shards by file name, and where each tensor lies.

    Attributes:
        shards: The files, in order.
        size: Bytes of all tensors.
    """

    shards: list[Shard] = field(default_factory=list)
    size: int = 0

    def index(self) -> bytes | None:
        """Return the text of the index file that the libraries read, or None where one file holds all."""
        if len(self.shards) == 1:
            return None
        weight_map = {name: shard.name for shard in self.shards for name in shard.tensors}
        return pretty_json({"metadata": {"total_size": self.size}, "weight_map": weight_map})


def lay_out(
    answer: ConversionPlan,
    slots: Mapping[str, TensorInfo],
    layouts: Mapping[str, Specs],
    library: str,
    limit: int = 0,
    single: str = "",
) -> Weights:
    """Decide which tensors the result holds and in which file each lies.

    Follows the libraries' greedy rule in the order of the model, except that a weight and its statistics are never
    parted, nor weights that are quantized as one: diffusers does part them, and then cannot load what it wrote.

    Args:
        answer: What the library makes of the component.
        slots: The source's tensors by name, in the order in which they are read.
        layouts: For every quantized tensor, what is saved for it, in the order in which it is made.
        library: ``diffusers`` or ``transformers``.
        limit: Bytes a file may hold; the library's own default where it is 0.
        single: The name of the one file that holds all, whatever its size; empty where the library names files.
    """
    groups = {
        name: layouts.get(name) or {conversion.name_of(name): (stored_as(conversion, slots[name]), slots[name].shape)}
        for name, conversion in answer.conversions.items()
    }
    bins: list[list[str]] = [[]]
    filled = 0
    sizes = {name: sum(nominal_size(*tensor) for tensor in group.values()) for name, group in groups.items()}
    companies = {name: company for company in answer.together for name in company}
    for company in dict.fromkeys(companies.get(name, (name,)) for name in sizes):
        size = sum(sizes[name] for name in company)
        if bins[-1] and not single and filled + size > (limit or SHARD_LIMIT[library]):
            bins.append([])
            filled = 0
        bins[-1] += company
        filled += size
    stem, count = WEIGHTS_NAME[library], len(bins)
    read_as = {name: number for number, name in enumerate(slots)}
    made_at = {name: max(read_as[one] for one in companies.get(name, (name,))) for name in sizes}
    weights = Weights(size=sum(sizes.values()))
    for number, names in enumerate(bins, start=1):
        suffix = "" if count == 1 else f"-{number:05d}-of-{count:05d}"
        tensors = {
            tensor: spec for name in sorted(names, key=made_at.__getitem__) for tensor, spec in groups[name].items()
        }
        weights.shards.append(Shard(single or f"{stem}{suffix}.safetensors", tuple(names), tensors))
    return weights


def lay_out_as(
    file: SingleFile,
    answer: ConversionPlan,
    slots: Mapping[str, TensorInfo],
    layout: Layout,
    name: str,
) -> Weights:
    """Lay a component out as one file in the names of its family, whose tensors are quantized as they lie in it.

    Args:
        file: Which rows of diffusers' tensors each of its tensors is.
        answer: What the library makes of the component.
        slots: The source's tensors by name, in the order in which they are read.
        layout: Returns what is saved for a quantized tensor.
        name: The file's name.

    Raises:
        RecipeError: Rows of several kinds are to be one tensor, or what is quantized is no matrix there.
    """
    by_name = {conversion.name_of(one): (one, conversion) for one, conversion in answer.conversions.items()}
    read_as = {one: at for at, one in enumerate(slots)}

    @cache  # heads whose rows take turns name their tensor each
    def kind_of(tensor: str) -> str:
        source, conversion = by_name[tensor]
        if not conversion.quantized:
            return stored_as(conversion, slots[source])
        return layout(tensor, slots[source].shape, conversion.dtype)[tensor][0]

    told: Specs = {target: ("F32", tensor.shape) for target, tensor in file.tensors.items() if tensor.values}
    alone: dict[str, Specs] = {}
    scattered: Specs = {}
    for target, tensor in file.tensors.items():
        if target in told:
            continue
        first = tensor.rows[0]
        kind, (source, conversion) = kind_of(first.tensor), by_name[first.tensor]
        if other := next((rows.tensor for rows in tensor.rows if kind_of(rows.tensor) != kind), ""):
            raise RecipeError(
                f"The family's files have {first.tensor} ({kind}) and {other} ({kind_of(other)}) "
                f"in one tensor, {target}.",
                remedy="Treat them alike under keep: and layers:, or write names: diffusers.",
            )
        specs: Specs = {target: (kind, tensor.shape)}
        if conversion.quantized:
            several = len(layout(first.tensor, slots[source].shape, conversion.dtype)) > 1
            if len(tensor.shape) != MATRIX or (several and not target.endswith(".weight")):
                what = f"The family's files have {first.tensor} as {target} of shape {list(tensor.shape)}"
                remedy = f"Keep {first.tensor.removesuffix('.weight')} under keep:, or write names: diffusers."
                raise RecipeError(f"{what}, which no loader takes quantized.", remedy=remedy)
            parts = layout(first.tensor, tensor.shape, conversion.dtype)
            specs = {renamed(part, first.tensor, target): spec for part, spec in parts.items()}
        if tensor.rows == (Rows(tensor=first.tensor, start=0, stop=(slots[source].shape or (1,))[0]),):
            alone[source] = specs
        else:
            scattered |= specs
    ordered = {part: spec for source in sorted(alone, key=read_as.__getitem__) for part, spec in alone[source].items()}
    tensors = told | ordered | scattered
    size = sum(nominal_size(*spec) for spec in tensors.values())
    return Weights([Shard(name, tuple(answer.conversions), tensors, frozenset(scattered))], size)


def renamed(part: str, weight: str, target: str) -> str:
    """Return what a tensor that is saved for a weight is called where the weight is called like ``target``."""
    return target.removesuffix("weight") + part.removeprefix(weight.removesuffix("weight"))


def stored_as(conversion: Conversion, slot: TensorInfo) -> str:
    """Return the safetensors dtype of a tensor that is not quantized."""
    return STORED_DTYPES.get(conversion.dtype, slot.dtype)


def nominal_size(dtype: str, shape: tuple[int, ...] | None) -> int:
    """Return the bytes of a tensor; some hundred where only its content tells."""
    if shape is None:
        return 128
    return size_of(dtype, shape) if dtype in DTYPE_SIZES else gguf.size_of(dtype, shape)
