"""Processes that run libraries: what they are told of us, and that one which hangs holds up nobody."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.errors import CannotHereError, VerificationError
from pipeline.fleet import machine
from pipeline.hub.release_files import USAGE
from pipeline.release.smoke_test import run_snippet
from pipeline.validate.generate import failure_of
from pipeline.worker.process import run
from pipeline.worker.session import WorkerDiedError, ask_worker, opened

SECRETS = (
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_OIDC_RESOURCE", "HF_OIDC_ID_TOKEN", "HF_HUB_TOKEN"),
    *("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_RUNTIME_TOKEN", "SIGSTORE_ID_TOKEN"),
    *("GH_TOKEN", "GITHUB_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "NETRC"),
    *("PYPI_TOKEN", "TWINE_PASSWORD", "UV_PUBLISH_TOKEN", "PIP_INDEX_URL", "PUBLISH_SIGNING_KEY", "SSH_AUTH_SOCK"),
    *(
        "NVIDIA_API_KEY",
        "CUDA_X_SECRET",
        "TORCH_HUB_PASSWORD",
        "TORCH_CREDENTIALS",
        "NVIDIA_AUTH",
        "CUDA_pass",
    ),
)
SAVED = "hf_saved0123456789abcdef"
TELL = """
import os
from huggingface_hub import get_token
open({out!r}, "w").write(repr((get_token(), dict(os.environ))))
"""


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Secrets in variables, a token saved by ``hf auth login`` in each place that is known, and a folder of modules."""
    for name in SECRETS:
        monkeypatch.setenv(name, f"planted {name}")
    monkeypatch.delenv("HF_TOKEN_PATH")
    for place in ("home/.cache/huggingface", "hf", "xdg/huggingface"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "token").write_text(SAVED)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


SERVE = "from pipeline.worker.child import serve\nserve(lambda job, tell: {})"


def asked_once(folder: Path, code: str) -> None:
    (folder / "told.py").write_text(f"{code}\n{SERVE}")
    assert ask_worker("told", [""]) == [{}]


def kept_asking(folder: Path, code: str) -> None:
    (folder / "told.py").write_text(f"{code}\n{SERVE}")
    with opened("told", folder / "told.log") as worker:
        assert worker.ask("") == worker.ask("") == {}
        worker.finish()


def as_the_card_says(folder: Path, code: str) -> None:
    (folder / USAGE).parent.mkdir(exist_ok=True)
    (folder / USAGE).write_text(code)
    run_snippet(folder, folder, "alice/model")


def imported(folder: Path, code: str) -> None:
    (folder / "told.py").write_text(code)
    assert machine.import_failure(["told"]) == ""


KINDS: list[Callable[[Path, str], None]] = [asked_once, kept_asking, as_the_card_says, imported]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_process_of_libraries_finds_no_secret_and_no_saved_token(planted: Path, kind: Callable[..., None]) -> None:
    kind(planted, TELL.format(out=str(planted / "told.txt")))
    told = (planted / "told.txt").read_text()
    assert "planted" not in told
    assert SAVED not in told
    assert str(planted / "home") not in told
    assert told.startswith("(None, ")
    assert "'PATH'" in told


def test_the_token_is_found_by_a_process_that_gets_everything(planted: Path) -> None:
    code = TELL.format(out=str(planted / "told.txt"))
    run([sys.executable, "-c", code], 600, {name: text for name, text in os.environ.items() if name not in SECRETS})
    assert SAVED in (planted / "told.txt").read_text()


def test_a_process_of_libraries_keeps_what_they_compute_with(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"OMP_NUM_THREADS": "3", "CUDA_VISIBLE_DEVICES": "1", "LC_ALL": "C", "TORCH_HOME": "/x"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    done = run([sys.executable, "-c", "import os; print(dict(os.environ))"], 600)
    assert given.items() <= eval(done.stdout).items()  # noqa: S307 - what it printed itself


HANG = """
import subprocess, sys, time
def dream():
    subprocess.run([sys.executable, "-c", "import os, time; open('%s', 'w').write(str(os.getpid())); time.sleep(3600)"])
"""


@pytest.fixture
def hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The head of a module that hangs with a child of its own, whose number it leaves behind."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return HANG % (tmp_path / "pid")


def grandchild_is_gone(folder: Path) -> bool:
    """Wait for its end, which the kernel takes a moment for; one that nobody has asked about is a zombie."""
    status = Path(f"/proc/{int((folder / 'pid').read_text())}/stat")
    for _ in range(300):
        try:
            if status.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.1)
    return False


def test_a_library_that_hangs_while_it_is_asked_is_ended_with_its_children(tmp_path: Path, hanging: str) -> None:
    (tmp_path / "told.py").write_text(hanging + "dream()")
    with pytest.raises(WorkerDiedError, match="it hung, and was ended after 5 s"):
        ask_worker("told", [""], seconds=5)
    assert grandchild_is_gone(tmp_path)


def test_a_pipeline_that_hangs_is_ended_and_says_where_it_was(tmp_path: Path, hanging: str) -> None:
    body = "from pipeline.worker.child import serve\nserve(lambda job, tell: tell(1, 2) or dream())"
    (tmp_path / "told.py").write_text(hanging + body)
    told: list[tuple[int, int]] = []
    with opened("told", tmp_path / "log", silence=8) as worker, pytest.raises(WorkerDiedError) as died:
        worker.ask("", lambda *counts: told.append(counts))
    assert told == [(1, 2)]
    error = failure_of(died.value, "model", "The log says more.")
    assert isinstance(error, CannotHereError)
    assert "hung: nothing came of it for 8 s" in error.what
    assert "in poll" in error.what or "subprocess.py" in error.what
    assert "Run the same command again" in error.remedy
    assert grandchild_is_gone(tmp_path)


def test_time_that_the_publisher_takes_is_not_the_pipelines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "told.py").write_text(SERVE)
    with opened("told", tmp_path / "log", silence=60) as worker:
        assert [worker.ask("") for _ in range(3)] == [{}, {}, {}]
        assert not worker.hung


def test_a_snippet_that_hangs_is_not_the_hubs_fault(tmp_path: Path, hanging: str) -> None:
    (tmp_path / USAGE).parent.mkdir()
    (tmp_path / USAGE).write_text(hanging + "dream()")
    with pytest.raises(CannotHereError, match="snippet hung"):
        run_snippet(tmp_path, tmp_path, "alice/model", seconds=5)
    assert grandchild_is_gone(tmp_path)
    (tmp_path / USAGE).write_text("raise SystemExit('no')")
    with pytest.raises(VerificationError, match="no"):
        run_snippet(tmp_path, tmp_path, "alice/model")


CTRL_C = """
import sys, threading
from pathlib import Path
from types import FrameType
from pipeline.worker.session import opened

def ctrl_c(frame: FrameType, event: str, _: object) -> None:
    if event == "return" and frame.f_code is threading.Thread.start.__code__:
        sys.setprofile(None)
        raise KeyboardInterrupt

with opened("told", Path("told.log")) as worker:
    sys.setprofile(ctrl_c)
    worker.ask("")
"""


def test_ctrl_c_at_any_moment_ends_a_process_that_waits_for_one_of_libraries(tmp_path: Path) -> None:
    """Nothing that guards the wait, which may be one of hours, outlives it."""
    (tmp_path / "told.py").write_text("input()")
    done = run([sys.executable, "-c", CTRL_C], 60, {"PYTHONPATH": str(tmp_path)}, cwd=tmp_path)
    assert "KeyboardInterrupt" in done.stderr


KILLED_AT_ONCE = """
import os, signal, subprocess
class Popen(subprocess.Popen):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)
subprocess.Popen = Popen
"""


@pytest.mark.parametrize("before", ["", KILLED_AT_ONCE], ids=["while it runs", "as it begins"])
def test_whatever_a_killed_process_had_started_is_killed(tmp_path: Path, before: str) -> None:
    told = tmp_path / "pid"
    endless = f"import os, time; open({str(told)!r}, 'w').write(str(os.getpid())); time.sleep(300)"
    code = f"import sys; from pipeline.worker.process import run; run([sys.executable, '-c', {endless!r}], 300)"
    parent = subprocess.Popen([sys.executable, "-c", before + code], env={**os.environ, "TMPDIR": str(tmp_path)})
    deadline = time.monotonic() + 30
    while not (told.exists() and told.read_text()) and not before and time.monotonic() < deadline:
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    while alive(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive(tmp_path) == []


def alive(folder: Path) -> list[str]:
    """Return the processes whose home lies in a folder."""
    homes = []
    for process in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"HOME={folder}/publish-home-" in process.read_text(errors="replace"):
                homes.append(process.parent.name)
    return homes
