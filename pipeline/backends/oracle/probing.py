"""The way back from diffusers' names to those of a family's own files, found by experiment.

Part of the child process that asks the libraries; see `pipeline.backends.oracle.worker`. diffusers 0.42 has a function
a family that makes its own tensors of those of a file (`diffusers.loaders.single_file_utils`). A file whose values
number their own places is given to it, and what comes out tells which rows went where: parts of a fused ``qkv``, halves
that change places, and the rest. What does not come out whole and once is refused. How the tensors of the file are
called is known from `spellings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, Final

from pipeline.backends.oracle.model import known_class
from pipeline.backends.oracle.single_file import FileTensor, Rows, SingleFile, SingleFileRequest
from pipeline.backends.oracle.spelling import Shape, Spelling
from pipeline.backends.oracle.spellings import SPELLINGS
from pipeline.worker.child import WorkerError, first_line

if TYPE_CHECKING:
    from torch import Tensor

COLUMNS: Final = 4  # of a matrix that is tried; a function that moved columns by their real number would find too few
WIDE: Final = 1 << 19  # places of a convolution that is tried with all its channels: one function asks for their number
PLACES: Final = 40  # bits of a value that number the places in a tensor; those above number the tensors
OWN_NAMES: Final = (
    "Write `names: diffusers`: from_single_file reads a file in diffusers' own names with config=, "
    "and nothing does that wants those of the family, such as ComfyUI."
)
OTHERWISE: Final = "Choose a backend that writes folders for it, or leave this component out."
Convert = Callable[..., Mapping[str, "Tensor | None"]]


def answer_single_file(question: SingleFileRequest) -> SingleFile:
    """Find out how a component lies in a file of its family.

    Raises:
        WorkerError: There is no such file.
    """
    family, convert = converter(question.class_name)
    refusal = WorkerError("recipe", f"It is not known how files of {family} call their tensors.", OWN_NAMES)
    for spelling in SPELLINGS.get(family, ()):
        experiment = Experiment(question, spelling)
        try:
            return experiment.read(experiment.converted(convert))
        except WorkerError as error:
            refusal = error
    raise refusal


def converter(class_name: str) -> tuple[str, Convert]:
    """Return the class under which diffusers knows files of a class, and its function that converts them.

    Raises:
        WorkerError: The library has no such class, or reads no single file of it.
    """
    import diffusers
    from diffusers.loaders import single_file_model as library

    kind = known_class(diffusers, class_name)
    family = library._get_single_file_loadable_mapping_class(kind)
    if family is None or not hasattr(kind, "from_single_file"):  # 0.42 lists an autoencoder of sound that has none
        what = f"diffusers {diffusers.__version__} reads no single file of {class_name}."
        raise WorkerError("recipe", what, OTHERWISE)
    return family, library.SINGLE_FILE_LOADABLE_CLASSES[family]["checkpoint_mapping_fn"]


@dataclass(frozen=True)
class Experiment:
    """A component, and how files of its family may call its tensors."""

    question: SingleFileRequest
    spelling: Spelling

    @cached_property
    def groups(self) -> dict[str, list[str]]:
        """The file's tensors by name, with diffusers' tensors that make each of them up."""
        return self.spelling.groups(self.question.shapes, self.question.config)

    @cached_property
    def tried(self) -> dict[str, Shape]:
        """The shapes of diffusers' tensors in this experiment, which has no need of all columns."""
        return {name: narrowed(shape) for name, shape in self.question.shapes.items()}

    def shape_of(self, name: str, shapes: Mapping[str, Shape]) -> Shape:
        """Return the shape of a tensor of the file, given those of diffusers' tensors.

        Raises:
            WorkerError: Those that make it up do not lie on each other.
        """
        first, *others = [shapes[tensor] for tensor in self.groups[name]]
        if any(other[1:] != first[1:] for other in others):
            raise self.refused(f"parts {name!r} into tensors of one width, which these are not")
        rows = sum(shapes[tensor][0] for tensor in self.groups[name]) if first else 1
        return self.spelling.shape_of(name, (rows, *first[1:]) if first else first)

    def converted(self, convert: Convert) -> Mapping[str, Tensor | None]:
        """Return what the library makes of the numbered file.

        Raises:
            WorkerError: Nothing, because the file lacks a tensor, or because sizes are not what it expects.
        """
        file = {name: numbered(number, self.shape_of(name, self.tried)) for number, name in enumerate(self.groups)}
        if file.keys() == self.question.shapes.keys():  # as the library's loader takes a file in its own names
            return file
        try:
            return convert(checkpoint=file, config=dict(self.question.config))
        except KeyError as error:
            what = f"takes {error}, and no tensor of a folder tells what that holds"
            raise self.refused(what) from error
        except RuntimeError as error:  # torch's, of sizes
            what = "makes nothing: what it converts this class with counts on other widths than this model's"
            raise self.refused(f"{what} ({first_line(error)[:-1]})") from error
        except Exception as error:  # the library's own code, of any class
            raise self.refused(f"makes nothing: {first_line(error)[:-1]}") from error

    def read(self, converted: Mapping[str, Tensor | None]) -> SingleFile:
        """Read from the numbers which rows lie where in the file.

        Raises:
            WorkerError: A tensor is not there in whole rows, or something of the file came out never or twice.
        """
        names = list(self.groups)
        runs: dict[str, list[tuple[int, int, Rows]]] = {name: [] for name in names}
        for tensor in self.tried:
            for number, begin, end, rows in self.runs(tensor, converted.get(tensor)):
                runs[names[number]].append((begin, end, rows))
        return SingleFile(
            tensors={
                name: FileTensor(shape=self.shape_of(name, self.question.shapes), rows=self.whole(name, found))
                for name, found in runs.items()
            }
        )

    def runs(self, tensor: str, found: Tensor | None) -> Iterator[tuple[int, int, int, Rows]]:
        """Yield rows that lie on each other in the file: the number of its tensor, where in it they begin and end.

        Raises:
            WorkerError: The tensor is not there in its shape, or not in whole rows.
        """
        import torch

        shape = self.tried[tensor]
        if found is None or tuple(found.shape) != shape:
            raise self.refused(f"does not make {tensor!r}")
        places = found[(..., *(0 for _ in shape[2:]))].reshape(shape[0] if shape else 1, -1)
        width = places.shape[1]
        if not torch.equal(places, places[:, :1] + torch.arange(width)):
            raise self.refused(f"makes {tensor!r} of parts of rows")
        first = places[:, 0]
        cuts = (torch.nonzero(first.diff() != width).flatten() + 1).tolist()
        for start, stop in pairwise([0, *cuts, len(first)]):
            number, begin = divmod(int(first[start]), 1 << PLACES)
            yield number, begin, begin + (stop - start) * width, Rows(tensor=tensor, start=start, stop=stop)

    def whole(self, name: str, runs: list[tuple[int, int, Rows]]) -> tuple[Rows, ...]:
        """Return what a tensor of the file is made of.

        Raises:
            WorkerError: Something of it is missing, or came out twice.
        """
        ordered = sorted(runs, key=lambda run: run[:2])
        reached = [0, *(end for _, end, _ in ordered)]
        places = prod(self.shape_of(name, self.tried)[:2])
        if [*(begin for begin, _, _ in ordered), places] != reached:
            raise self.refused(f"leaves out some of {name!r}, or takes it twice")
        return tuple(rows for _, _, rows in ordered)

    def refused(self, what: str) -> WorkerError:
        """Return the refusal of a component of which the library makes something else."""
        import diffusers

        sentence = f"Of a file of {self.question.class_name}, diffusers {diffusers.__version__} {what}."
        return WorkerError("recipe", sentence, OWN_NAMES)


def narrowed(shape: Shape) -> Shape:
    """Return the shape in which a tensor is tried: large ones have fewer columns."""
    narrow = len(shape) == 2 or prod(shape[:2]) > WIDE
    return (shape[0], min(shape[1], COLUMNS), *shape[2:]) if narrow else shape


def numbered(number: int, shape: Shape) -> Tensor:
    """Return a tensor whose values number its rows and columns; the pixels of a convolution share theirs."""
    import torch

    places = torch.arange(prod(shape[:2])).add(number << PLACES)
    return places.reshape((*shape[:2], *(1 for _ in shape[2:]))).expand(shape)
