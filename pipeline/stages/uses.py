"""Uses: what users do next, tried on a checkpoint before it is judged; what was tried is sealed and not tried again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import TypeAdapter

from pipeline.events import Listener
from pipeline.files import digest_of, pretty_json, write_atomically
from pipeline.plan import TargetPlan
from pipeline.quality.report import Use
from pipeline.quality.uses import Compilation, Lora, Uses, ask_with_lora, few, try_uses
from pipeline.recipe.schema import Compile
from pipeline.stages.loras import FoundLora
from pipeline.stages.validate import REFERENCE, candidate_key, reference_key, request_of
from pipeline.store import Store

FOUND = "uses.json"
Found = TypeAdapter(tuple[Use, ...])


def compilations(written: Compile | None) -> tuple[Compilation, ...]:
    """Return each component that is to be compiled, by itself."""
    if written is None:
        return ()
    return tuple(
        Compilation(component=name, fullgraph=written.fullgraph, mode=written.mode) for name in written.components
    )


def tried(
    plan: TargetPlan,
    source: Callable[[], Path],
    checkpoint: Path,
    loras: Sequence[FoundLora],
    store: Store,
    listen: Listener,
) -> tuple[Use, ...]:
    """Return what came of every LoRA that the plan loads onto its result, and of every component that it compiles.

    Args:
        plan: The target's plan.
        source: Returns the folder of the source's pipeline, for what it was not asked before.
        checkpoint: The folder of the checkpoint's pipeline.
        loras: The recipe's LoRAs.
        store: Where answers are kept; the source's are shared by all targets.
        listen: Hears what is tried.

    Raises:
        RecipeError: The source itself does not take a LoRA.
        CannotHereError: A library is missing or the memory did not suffice.
        GenerationError: The process that tries ended without an answer.
    """
    wanted = [lora for lora in loras if lora.planned.how == "loaded"]
    compiled = plan.validation.compile
    if not wanted and compiled is None:
        return ()
    request = request_of(plan)

    def ask(lora: FoundLora) -> Lora:
        named = Lora(name=lora.planned.name, file=lora.local(store, listen), scale=lora.planned.scale)
        key = digest_of([reference_key(plan, few(request)), lora.planned.model_dump(mode="json")])
        known = store.make(REFERENCE, key, lambda out: _ask(source(), named, out))
        return named.model_copy(update={"reference": known})

    def _ask(model: Path, named: Lora, out: Path) -> None:
        ask_with_lora(model, named, request, out, listen)

    def build(out: Path) -> None:
        uses = Uses(loras=tuple(ask(lora) for lora in wanted), compilations=compilations(compiled))
        found = try_uses(uses, checkpoint, checkpoint, request, out, listen)
        write_atomically(out / FOUND, pretty_json(Found.dump_python(found, mode="json")))

    said = [lora.model_dump(mode="json") for lora in plan.loaded]
    key = digest_of([candidate_key(plan), said, compiled.model_dump(mode="json") if compiled else None])
    return Found.validate_json((store.make("uses", key, build) / FOUND).read_bytes())
