"""What a packing says before it packs, and what it takes to begin."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from packing.cases import CASES, DTYPES, NAME, Case

import pipeline
from pipeline.backends import BACKENDS

ALONE = """
import json, sys
import numpy as np
from pipeline.backends import BACKENDS
for backend, scheme, options in json.loads(sys.argv[1]):
    told = scheme, options, "blocks.0.proj.weight", (32, 256), "bfloat16"
    module = BACKENDS[backend]
    module.layout(*told)
    module.describe(*told)
    packing = module.packing(*told)
    packing.pack(0, np.arange(32 * 256, dtype=np.uint16))
    packing.finish()
libraries = {"torch", "bitsandbytes", "torchao", "optimum", "diffusers", "transformers"}
libraries |= {"comfy_kitchen", "compressed_tensors"}
loaded = libraries & set(sys.modules)
assert not loaded, loaded
"""


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_said_of_a_weight_needs_no_weight(case: Case, dtype: str) -> None:
    weight = torch.ones((32, 256), dtype=getattr(torch, dtype))
    backend = BACKENDS[case.backend]
    assert case.call("describe", weight) == backend.pack(case.scheme, case.filled(), NAME, weight).metadata


def test_packing_needs_neither_torch_nor_a_library() -> None:
    cases = json.dumps([(case.backend, case.scheme, case.filled()) for case in CASES])
    subprocess.run([sys.executable, "-c", ALONE, cases], check=True)


@pytest.mark.parametrize("scheme", ["int4-weight-only", "float8-dynamic"])
def test_schemes_of_cuda_devices_have_no_packing(scheme: str) -> None:
    case = Case("torchao", scheme)
    weight = torch.ones((128, 1024))
    assert case.call("packing", weight) is None
    assert case.call("describe", weight) is None


READ_ONLY = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from pipeline.kernels import rows
assert rows.__file__.startswith(sys.argv[1])
rows.sum_of_squares(np.ones(3, np.float32))
(hits,) = rows.sum_of_squares.stats.cache_hits.values() or [0]
print(hits)
"""


@pytest.mark.nightly
def test_kernels_are_compiled_once_where_the_package_is_read_only(tmp_path: Path) -> None:
    package, home = tmp_path / "site", tmp_path / "home"
    source = Path(pipeline.__file__).parent
    for file in source.rglob("*.py"):
        copy = package / "pipeline" / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    folders = [folder for folder in package.rglob("*") if folder.is_dir()]
    # Root may write anywhere: a file where numba would make its folder refuses it too.
    for folder in folders:
        (folder / "__pycache__").write_text("")
        folder.chmod(0o555)
    environment = {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        command = [sys.executable, "-c", READ_ONLY, str(package)]
        found = [
            subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.strip()
            for _ in range(2)
        ]
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert found == ["0", "1"]
    assert list(home.rglob("*.nbc"))
