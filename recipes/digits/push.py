"""Pushes the digits source to a Hub, always as the same commits, and says which commit a recipe has to pin.

Usage: python push.py, with HF_ENDPOINT and HF_TOKEN set
"""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi

SOURCE = Path(__file__).with_name("source")
REPOSITORY = "digits/digits-flux"


def push(api: HfApi) -> str:
    """Make the repository hold the source unless it does, and return its commit."""
    api.create_repo(REPOSITORY, exist_ok=True)
    files = sorted(path for path in SOURCE.rglob("*") if path.is_file())
    operations = [CommitOperationAdd(path.relative_to(SOURCE).as_posix(), path) for path in files]
    message = "Digits, trained from scikit-learn's scans"
    return str(api.create_commit(REPOSITORY, operations, commit_message=message).oid)


if __name__ == "__main__":
    print(push(HfApi()))
