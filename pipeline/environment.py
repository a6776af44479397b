"""What a child process is told of our environment: everything but what lets it speak to the Hub in our name."""

from __future__ import annotations

import os
from typing import Final

SECRETS: Final = (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HF_TOKEN_PATH",
    "HF_OIDC_RESOURCE",
    "HF_OIDC_ID_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_URL",
    "PUBLISH_SIGNING_KEY",
    "ACTIONS_RUNTIME_TOKEN",
    "GITHUB_TOKEN",
)


def without_secrets() -> dict[str, str]:
    """Return our environment for a child that runs libraries only: a source's code or config may steer them."""
    return {name: value for name, value in os.environ.items() if name not in SECRETS}
