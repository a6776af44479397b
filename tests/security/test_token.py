"""A planted token: whatever happens to a run, nobody finds it in what was written, said, published or started."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from localhub.faults import Faults
from localhub.server import running
from pipeline.cli.console import Console
from pipeline.errors import PublishError
from pipeline.events import Event
from tests import desk as desks
from tests.desk import ONE, Desk, Done, Shelf
from tests.security.conftest import PLANTED, TOKEN, answer

REPO = "alice/tiny-one"
SECRET = TOKEN.encode()


@dataclass
class Watch:
    """Looks at a process and all its descendants for as long as it lives.

    Attributes:
        lines: Every command line that was seen.
        children: The environment of every descendant by its command line.
    """

    child: subprocess.Popen[str]
    lines: set[bytes] = field(default_factory=set)
    children: dict[bytes, bytes] = field(default_factory=dict)

    def look(self) -> None:
        while self.child.poll() is None:
            for pid in descendants(self.child.pid):
                try:
                    line = Path(f"/proc/{pid}/cmdline").read_bytes()
                    environment = Path(f"/proc/{pid}/environ").read_bytes()
                    parent = Path(f"/proc/{self.child.pid}/cmdline").read_bytes()
                except OSError:
                    continue
                self.lines.add(line)
                if pid != self.child.pid and line != parent:  # between fork and exec a child still is its parent
                    self.children[line] = environment
            time.sleep(0.01)


def descendants(pid: int) -> list[int]:
    """Return a process and everything it started that still is its child or grandchild."""
    found = [pid]
    for each in found:
        try:
            found += [
                int(child)
                for thread in Path(f"/proc/{each}/task").iterdir()
                for child in (thread / "children").read_text().split()
            ]
        except OSError:
            continue
    return found


@dataclass
class Scene:
    """A whole run from nothing to a release with the planted token, and everything that it left."""

    folder: Path
    desk: Desk
    faults: Faults
    done: Done
    watch: Watch


@pytest.fixture(scope="module")
def scene(stocked: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("planted")
    shutil.copytree(stocked.root, folder / "hub", symlinks=True)
    (folder / "desk").mkdir()
    faults = Faults()
    with running(folder / "hub", tokens=PLANTED, faults=faults) as endpoint:
        shelf, reading = Shelf(endpoint, folder / "hub", stocked.commit), {"TORCH_TOKEN": TOKEN}  # TORCH*: libraries'
        desk = Desk(folder / "desk", shelf, folder / "home", token=TOKEN, extra=reading)
        source = {"repo": desks.REPO, "revision": stocked.commit, "token": "TORCH_TOKEN"}
        child = desk.start("--json", "--traceback", "run", desk.recipe(ONE, source))
        watch = Watch(child)
        thread = threading.Thread(target=watch.look)
        thread.start()
        out, err = child.communicate(timeout=400)
        thread.join()
        yield Scene(folder, desk, faults, Done(child.returncode, out, err), watch)


def holders(folder: Path) -> list[str]:
    """Return the files that hold the token, in their content or their name."""
    return [
        str(path)
        for path in folder.rglob("*")
        if TOKEN in path.name or (path.is_file() and SECRET in path.read_bytes())
    ]


def test_a_release_leaves_no_token_behind(scene: Scene) -> None:
    assert scene.done.code == 0, scene.done.err
    assert len(list(scene.folder.rglob("*"))) > 100
    assert holders(scene.folder) == []
    assert TOKEN not in scene.done.out + scene.done.err


def test_the_search_finds_a_token(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_text(f"Authorization: Bearer {TOKEN}")
    assert len(holders(tmp_path)) == 1


def test_no_published_file_holds_the_token(scene: Scene) -> None:
    from huggingface_hub import HfApi

    api = HfApi(endpoint=scene.desk.shelf.endpoint, token=False)
    names = api.list_repo_files(REPO)
    assert "README.md" in names
    for name in names:
        path = api.hf_hub_download(REPO, name, local_dir=scene.folder / "as-published")
        assert SECRET not in Path(path).read_bytes()


PLATFORM = b"uname\x00-p\x00"  # the system's own, which Python's platform module asks for the processor


def test_no_process_is_told_the_token_but_the_publisher(scene: Scene) -> None:
    kinds = (b"pipeline.backends.oracle.worker", b"pipeline.validate.consumer", b"publish/usage.py")
    for kind in kinds:
        assert any(kind in line for line in scene.watch.children), f"nobody saw {kind.decode()}"
    assert not [line for line in scene.watch.lines if SECRET in line]
    told = [line for line, environment in scene.watch.children.items() if SECRET in environment]
    assert [line for line in told if line != PLATFORM] == []


def failing(scene: Scene, *arguments: str) -> Done:
    """Run a command that fails, with everything shown that can be shown."""
    done = scene.desk.publish("--json", "--traceback", *arguments)
    assert done.code != 0
    assert "Traceback" in done.err
    return done


@pytest.mark.parametrize("status", [401, 403, 404, 412, 500])
def test_a_refusal_does_not_repeat_the_token_even_where_the_hub_does(scene: Scene, status: int) -> None:
    told = {"error": f"no: {TOKEN}"}
    scene.faults.rules = [
        answer("GET|POST", "/api/models", told, status, X_Error_Message=f"no: Bearer {TOKEN}", X_Request_Id=TOKEN)
    ]
    arguments = ("status", "recipe.yaml") if status == 500 else ("yank", REPO, "v1", "--why", "x")
    done = failing(scene, *arguments)
    scene.faults.rules = []
    assert TOKEN not in done.out + done.err
    assert holders(scene.folder) == []


def test_a_token_is_hidden_wherever_it_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    for mode in ("people", "json", "github"):
        console = Console(mode)  # type: ignore[arg-type]
        shown = f"x {TOKEN}, hf_jwt_eyJh.bGci-Oi_ and hf_hub_download"
        console.error(PublishError(shown, where=TOKEN, remedy=TOKEN))
        console.say(shown)
        console.result({"text": shown}, shown)
        console.table(shown, [shown], [[shown]])
        for kind in ("started", "finished", "skipped", "note"):
            console.listen(Event(kind, "run", shown, shown))  # type: ignore[arg-type]
    out, err = capsys.readouterr()
    assert TOKEN not in out + err
    assert "eyJh" not in out + err
    assert "hf_hub_download" in out
    assert "hf_hub_download" in err


def test_a_hub_that_is_down_does_not_make_the_token_known(scene: Scene) -> None:
    done = failing(scene, "status", "recipe.yaml", "--hub", "http://127.0.0.1:9")
    assert done.code == 9
    assert TOKEN not in done.out + done.err


def test_an_examination_tells_whose_token_it_is_and_not_the_token(scene: Scene) -> None:
    done = scene.desk.publish("--json", "doctor", "recipe.yaml")
    assert done.code == 0, done.err
    remarks = {remark["topic"]: remark["text"] for remark in done.lines[-1]["remarks"]}
    assert "alice" in remarks["token"]
    assert TOKEN not in done.out + done.err
