"""Judges one folder against another by a recipe's questions, without making or publishing anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from pipeline.backends.oracle.conversion import installed_versions
from pipeline.errors import SourceError
from pipeline.files import link_or_copy, pretty_json, write_atomically
from pipeline.hub.release_files import REPORT
from pipeline.hub.source import Repository
from pipeline.locks import temporary_in
from pipeline.plan.questions import questions_folder
from pipeline.recipe.clause import Dtype
from pipeline.run import Engine
from pipeline.source.fetch import fetch
from pipeline.source.layout import Folder, Layout
from pipeline.tasks import TASKS
from pipeline.tasks.answers import Request
from pipeline.tasks.metrics import Sizes
from pipeline.validate import Evidence, Report, judge
from pipeline.validate.page import Subject
from pipeline.validate.page.used import questions
from pipeline.validate.prompts import clips_of
from pipeline.validate.stage import (
    DECIDING,
    answer,
    ask_source,
    made_layers,
    meanwhile,
    prompts_of,
    resolved_requirements,
    side,
    source_key,
)
from pipeline.validate.stage import REPORT as JUDGED
from pipeline.verify.reporting import write_page

PAGE: Final = "report.html"


def is_graph(checkpoint: str) -> bool:
    """Return whether what is judged is a graph of ONNX, and no folder that holds one."""
    return checkpoint.endswith(".onnx")


@dataclass(frozen=True)
class FolderValidation:
    """A recipe's questions and bar, for models that need not come from it.

    Attributes:
        engine: The recipe with its home and its Hubs.
        source: Where the reference lies.
        dtype: The dtype of everything that is not quantized.
    """

    engine: Engine
    source: Folder | Repository
    dtype: Dtype = "bfloat16"

    @property
    def request(self) -> Request:
        """What both sides answer."""
        engine = self.engine
        recipe, asked = engine.loaded.recipe, engine.prompts
        written = recipe.validation
        return Request(
            task=recipe.task,
            questions=tuple(one.question for one in asked.prompts),
            folder=questions_folder(asked, engine.store),
            seeds=written.seeds,
            call=written.model_dump(mode="json")["call"],
            dtype=self.dtype,
        )

    def judge(self, checkpoint: Folder | Repository, out: Path) -> Report:
        """Have both sides answer in processes of their own, and put report, page and answers into a folder.

        Raises:
            GenerationError: The checkpoint does not load or does not run.
            SourceError: The reference does not.
            RecipeError: What is required cannot be measured, or the reference is degenerate.
        """
        engine, request = self.engine, self.request
        listed = self.source.listed(self.layout(self.source).wanted)
        content = {name: file.model_dump(mode="json") for name, file in listed.items()}
        key = source_key(content, installed_versions(DECIDING), request)
        folder = self.here(checkpoint)  # first: what is no model is refused before anybody is asked
        judged = bool(engine.judges.places)
        hearing = partial(meanwhile, request, judged, listen=engine.listen)
        reference = ask_source(self.here(self.source), request, key, engine.store, partial(hearing, target="reference"))
        answer(folder, request, out, partial(hearing, target="checkpoint"))
        written = engine.loaded.recipe.validation.require.model_dump(mode="json", exclude_none=True)
        required = resolved_requirements(written, engine.judges.folders(engine.store, engine.listen))
        sizes = Sizes(source=self.weight_of(self.source), result=self.weight_of(checkpoint))
        besides = Evidence(made_layers(folder))
        report = judge(side(reference), side(out), prompts_of(engine.prompts), required, sizes, besides)
        write_atomically(out / JUDGED, pretty_json(report.model_dump(mode="json")))
        subject = Subject(
            target=checkpoint.where.rpartition("/")[2],
            repository=checkpoint.where,
            report=report,
            reference=reference,
            candidate=out,
            others={},
            used=self.used(checkpoint),
            clips=clips_of(engine.prompts, engine.store),
        )
        write_page(subject, out / PAGE)
        return report

    @contextmanager
    def with_graph(self, graph: Path) -> Iterator[Folder]:
        """Lay a graph that is a file by itself beside the reference's small files, as it would be published.

        Raises:
            SourceError: There is no such file.
        """
        if not graph.is_file():
            raise SourceError("There is no such file.", where=str(graph), remedy="Correct its name.")
        layout = self.layout(self.source)
        (component,) = layout.components.values()
        reference = self.here(self.source)
        with temporary_in(self.engine.store.root, "graph") as folder:
            for name in (*component.small, *layout.top):
                link_or_copy(reference / name, folder / name)
            for part in (graph, *graph.parent.glob(f"{graph.name}[_.]data*")):
                link_or_copy(part, folder / "onnx" / part.name)
            made = Folder(folder)
            made.where = str(graph)
            yield made

    def used(self, checkpoint: Folder | Repository) -> dict[str, dict[str, str]]:
        """Return what was judged and what was asked, as facts under headings."""
        loaded = self.engine.loaded
        written = loaded.recipe.validation
        asked = questions(self.engine.prompts, written.seeds, written.call, str(written.prompts))
        return {
            "What was judged": {
                "Checkpoint": checkpoint.where,
                "Reference": self.source.where,
                "Recipe": str(loaded.path),
                "Type of what is not quantized": self.dtype,
            },
            "What was asked": asked,
        }

    def here(self, place: Folder | Repository) -> Path:
        """Return the folder of a model, fetched where it is on a Hub."""
        wanted = {name: place.files[name] for name in (*self.layout(place).wanted, REPORT) if name in place.files}
        return fetch(place, wanted, self.engine.store, self.engine.listen)

    def weight_of(self, place: Folder | Repository) -> int:
        """Return the bytes of the files that loading a model reads."""
        return sum(place.files[name].size for name in self.layout(place).wanted)

    def layout(self, place: Folder | Repository) -> Layout:
        """Return what loading a model of the recipe's task reads."""
        return TASKS[self.engine.loaded.recipe.task].layout(place)
