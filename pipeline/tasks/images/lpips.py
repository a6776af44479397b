"""LPIPS: how different two pictures look to a network whose last layers were fitted to people's judgement."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import CannotHereError
from pipeline.files import sha256_file
from pipeline.tasks.images.pixels import lacks_room
from pipeline.tasks.metrics import MetricInput, PairMetric, Reading, greatest_distance

if TYPE_CHECKING:
    from PIL import Image

ALEXNET = "alexnet-owt-7be5be79.pth"  # as torchvision calls them, in the folder where torch keeps what it downloaded
SHA256 = "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02"
SIDE = 31  # pixels; AlexNet's convolutions and poolings leave one value of them


def _lpips(given: MetricInput) -> list[Reading]:
    """Distance of the features of AlexNet (Zhang et al., 2018, https://arxiv.org/abs/1801.03924; torchmetrics)."""
    import torch

    network = _open()
    readings = []
    for pair in given.pairs:
        with torch.inference_mode():
            distance = network(_tensor(pair.candidate), _tensor(pair.reference), normalize=True)
        readings.append(Reading(float(distance)))
    return readings


@cache
def _open() -> Any:
    """Open torchmetrics' network, whose first layers torchvision has and whose last ones it carries itself.

    torchvision would download the weights where they are not, and unpickle whatever it finds: they must be there, and
    be the ones that everybody measures with.

    Raises:
        CannotHereError: torchvision or its weights are not here.
    """
    import torch

    try:
        import_module("torchvision")
    except (ImportError, RuntimeError) as error:  # RuntimeError: built for another torch than the one beside it
        remedy = "Install the torchvision that was built for this torch."
        raise CannotHereError(f"lpips needs torchvision, which cannot be used here: {error}.", remedy=remedy) from error
    weights = Path(torch.hub.get_dir()) / "checkpoints" / ALEXNET
    if not weights.is_file() or sha256_file(weights) != SHA256:
        raise CannotHereError(
            "lpips needs the weights of AlexNet that torchvision names; a validation downloads nothing.",
            where=str(weights),
            remedy=f"Fetch https://download.pytorch.org/models/{ALEXNET} to there.",
        )
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    return LearnedPerceptualImagePatchSimilarity(net_type="alex").net


def _tensor(picture: Image.Image) -> Any:
    """Return a picture as values from 0 to 1, shape (1, 3, height, width), in the weights' float32."""
    import numpy as np
    import torch

    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).unsqueeze(0).float() / 255


LPIPS = PairMetric("", "lower", _lpips, lambda given: lacks_room(given, SIDE), ends=(0.0, inf), tail=greatest_distance)
