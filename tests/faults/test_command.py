"""The command itself: exit codes, what goes to which stream, and what is not imported."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.desk import ONE, Desk
from tests.faults.conftest import Same

PORT = "error: Invalid value for '--port': Input should be"


def imported(stderr: str) -> set[str]:
    return {line.rpartition("|")[2].strip() for line in stderr.splitlines() if line.startswith("import time:")}


@pytest.mark.parametrize("verb", ["--help", "check", "plan"])
def test_what_only_reads_does_not_import_torch(ready_desk: Desk, verb: str) -> None:
    recipe = [] if verb == "--help" else [ready_desk.recipe()]
    done = ready_desk.publish(verb, *recipe, python=("-X", "importtime"))
    assert done.code == 0, done.err
    names = imported(done.err)
    assert "typer" in names
    assert not {"torch", "diffusers", "transformers", "bitsandbytes", "torchao"} & names


def test_json_goes_to_stdout_and_nothing_else_does(ready_desk: Desk) -> None:
    recipe = ready_desk.recipe()
    for arguments in (["check", recipe], ["plan", recipe], ["run", recipe, "--stop-after", "card"]):
        done = ready_desk.publish("--json", *arguments)
        assert done.code == 0, done.err
        assert all(isinstance(line, dict) for line in done.lines)
    assert done.lines[-1]["result"][0]["state"] == "stopped"


def test_an_error_is_a_line_of_json_too(desk: Desk) -> None:
    done = desk.publish("--json", "plan", desk.recipe(source={"repo": "acme/tiny", "revision": "0" * 40}))
    assert done.code == 4
    assert done.lines[-1] == {"error": done.error.removeprefix("error: "), "exit_code": 4}


def test_a_target_that_cannot_be_planned_keeps_no_other_from_its_plan(desk: Desk) -> None:
    lacking = [{name: ONE["one"]["transformer"]} for name in ("transformer_2", "transformer_3")]
    done = desk.publish("plan", desk.recipe({"none": lacking[0], **ONE, "nor": lacking[1], "again": lacking[0]}))
    assert done.code == 2, done.err
    assert "one → alice/tiny-one" in done.err
    assert "no component 'transformer_2'" in done.error
    assert "no component 'transformer_3'" in done.error
    assert len(done.error.splitlines()) == 2, "what two targets have in common is told once"


@pytest.mark.parametrize(
    ("streams", "code"), [(">/dev/full", 3), ("| true", 3), (">&-", 0), ("2>&-", 0), (">/dev/full 2>/dev/full", 3)]
)
def test_a_stream_that_takes_nothing_is_no_defect(desk: Desk, streams: str, code: int) -> None:
    command = f"{sys.executable} -m pipeline.cli --json check {desk.recipe()} {streams}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=desk.environment, check=False)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert ("stdout takes no more" in done.stderr) == (code == 3 and "2>" not in streams)


def test_a_recipe_with_every_kind_of_mistake_tells_them_all(desk: Desk) -> None:
    recipe = desk.recipe(ONE)
    written = json.loads(recipe.read_text())
    written["sauce"] = written.pop("source")
    written["targets"]["one"]["transformer"]["scheme"] = "int8-weight"
    written["validation"]["seeds"] = ["zero"]
    recipe.write_text(json.dumps(written, indent=2))
    done = desk.publish("--json", "check", recipe)
    assert done.code == 2
    assert [problem["line"] for problem in done.lines[-1]["problems"]] == sorted(
        problem["line"] for problem in done.lines[-1]["problems"]
    )
    told = " ".join(problem["text"] for problem in done.lines[-1]["problems"])
    assert all(word in told for word in ("sauce", "int8-weight", "zero"))
    assert desk.publish("run", recipe).code == 2


def test_a_library_that_is_deprecated_upstream_is_remarked_once(desk: Desk) -> None:
    recipe = desk.recipe(ONE)
    sound = desk.publish("check", recipe)
    written = json.loads(recipe.read_text())
    written["targets"] = {
        scheme: {"transformer": {"backend": "quanto", "scheme": scheme}} for scheme in ("int8", "int4")
    }
    recipe.write_text(json.dumps(written))
    done = desk.publish("check", recipe)
    assert (done.code, done.out) == (0, sound.out)
    assert (sound.err.count("deprecated upstream"), done.err.count("quanto is deprecated upstream")) == (0, 1)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["plan", "--bogus"], "error: No such option: --bogus"),
        (["publsh"], "error: No such command 'publsh'."),
        (["plan"], "error: Missing argument 'RECIPE'."),
        (["serve", "--port", "99999"], f"{PORT} less than or equal to 65535"),
        (["serve", "--port", "-1"], f"{PORT} greater than or equal to 0"),
    ],
)
def test_a_wrong_command_line_ends_in_2(desk: Desk, arguments: list[str], told: str) -> None:
    done = desk.publish(*arguments)
    assert done.code == 2
    assert done.error == told
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("flag", "value", "told"),
    [
        ("--target", "three", "error: The recipe has no target 'three'. It has one."),
        (
            "--stop-after",
            "cook",
            "error: There is no stage 'cook'. The stages are fetch, quantize, validate, card, release; `publish plan` "
            "shows what is before them.",
        ),
    ],
)
def test_a_word_that_the_recipe_does_not_have(desk: Desk, flag: str, value: str, told: str) -> None:
    done = desk.publish("run", desk.recipe(), flag, value)
    assert (done.code, done.error) == (2, told)


@pytest.mark.parametrize(
    ("quantization", "name"),
    [
        ({"backend": "torchao", "scheme": "int8-weight-only", "keep": ["proj_in"]}, "keep_nothing"),
        ({"backend": "quanto", "scheme": "int8", "keep": ["transformer_blocks.0.attn.to_q"]}, "keep_loosely"),
    ],
)
def test_a_keep_that_cannot_be_kept_to(desk: Desk, same: Same, quantization: dict[str, object], name: str) -> None:
    error = desk.refused(desk.recipe({"one": {"transformer": quantization}}))
    assert error.exit_code == 2
    same(name, desk.plain(str(error)))


def test_a_defect_is_one_line_with_a_hint(desk: Desk) -> None:
    site = desk.folder / "site"
    site.mkdir()
    (site / "uvicorn.py").write_text("raise RuntimeError('this library is broken')\n")
    desk.extra["PYTHONPATH"] = str(site)
    done = desk.publish("serve")
    assert done.code == 70
    (line,) = done.err.splitlines()
    assert "RuntimeError: this library is broken" in line
    assert "--traceback" in line
    traced = desk.publish("--traceback", "serve")
    assert traced.code == 70
    assert "uvicorn.py" in traced.err


def test_the_installed_command_is_this_one() -> None:
    done = subprocess.run([sys.executable, "-m", "pipeline.cli", "--help"], check=True, capture_output=True, text=True)
    assert "check" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_whatever_ends_it_politely_interrupts_it_and_nothing_is_left(
    desk: Desk, tmp_path: Path, number: signal.Signals
) -> None:
    """Also under a parent that ignores how its children end, which a process hands down."""
    (desk.home / "answers").unlink()  # so that libraries are asked
    desk.extra["TMPDIR"] = str(tmp_path / "tmp")
    (tmp_path / "tmp").mkdir()
    run = [sys.executable, "-m", "pipeline.cli", "plan", str(desk.recipe())]

    def inherited() -> None:
        signal.signal(number, signal.SIG_DFL)  # whatever these tests were told to ignore
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    options["preexec_fn"] = inherited
    with subprocess.Popen(run, cwd=desk.folder, env=desk.environment, **options) as child:
        while not list((tmp_path / "tmp").iterdir()) and child.poll() is None:
            time.sleep(0.05)
        child.send_signal(number)
        _, err = child.communicate(timeout=60)
    assert (child.returncode, err.splitlines()[-1]) == (
        130,
        "interrupted; the same command continues where it stopped",
    )
    assert list((tmp_path / "tmp").iterdir()) == []
