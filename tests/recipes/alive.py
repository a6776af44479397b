"""Counts what the installed libraries' own forwards keep alive at once, on the meta device, where nothing is computed.

Run as a process of its own, because it gives torch another attention, which takes nothing beside its result as the
fused ones of GPUs do: ``python -m tests.recipes.alive`` reads a JSON list of ``[repository, component]`` from stdin
and answers with bytes for each. What convolutions and matrix products take while they run is in none of them.
"""

from __future__ import annotations

import json
import sys
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.recipes.families import FAMILIES
from tests.recipes.shapes import BUILT

TEXT = 512
Ask = Callable[[Any], Any]


def attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> Any:
    """Return what attention would, unwritten."""
    return query.new_empty((*query.shape[:-1], value.shape[-1]))


class Alive(TorchDispatchMode):
    """Counts the storages that operations made and somebody still holds."""

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call an operation, and note what is new in its results."""
        if func is torch.ops.aten._local_scalar_dense.default:  # a number that nothing here has
            return True
        made = func(*args, **(kwargs or {}))
        given = {one.untyped_storage()._cdata for one in tensors((args, kwargs))}
        for one in tensors(made):
            storage = one.untyped_storage()
            if storage._cdata not in given and storage._cdata not in self.held:
                self.held[storage._cdata] = storage.nbytes()
                weakref.finalize(storage, self.held.pop, storage._cdata, None)
        self.peak = max(self.peak, sum(self.held.values()))
        return made


def tensors(tree: Any) -> list[Any]:
    """Return the tensors in arguments or results."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def alive(repository: str, component: str) -> int:
    """Return the bytes that a call of a component keeps alive at once, without its weights and what it is given."""
    part = FAMILIES[repository].parts[component]
    with torch.device("meta"):
        model = BUILT[part.name[0]](part.name[1], part.config)[0].to(torch.bfloat16).eval()
    ask = ASKS.get(part.name[1]) or reads
    with torch.device("meta"), torch.no_grad(), Alive() as counted:
        ask(model)
    return counted.peak


def some(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Any:
    """Return a tensor of a shape."""
    return torch.empty(shape, dtype=dtype)


def reads(model: Any) -> Any:
    """Have an encoder read a text, as pipelines do."""
    tokens = min(TEXT, getattr(model.config, "max_position_embeddings", TEXT))
    return model(input_ids=some(1, tokens, dtype=torch.long), output_hidden_states=True)


def joint(latents: int, text: int, **more: Any) -> Ask:
    """Have a transformer of FLUX denoise 1024 by 1024 pixels."""

    def ask(model: Any) -> Any:
        pooled = {"pooled_projections": some(1, 768)} if "pooled_projection_dim" in model.config else {}
        guided = {"guidance": some(1)} if model.config.guidance_embeds else {}
        axes = len(model.config.axes_dims_rope)
        places = {"img_ids": some(4096, axes), "txt_ids": some(TEXT, axes)}
        words = some(1, TEXT, model.config.joint_attention_dim or text)
        return model(some(1, 4096, latents), words, timestep=some(1), **places, **pooled, **guided, **more)

    return ask


def edits(model: Any) -> Any:
    """Have Qwen-Image denoise 1024 by 1024 pixels beside a picture of as many, which is what an edit is."""
    grid = [[(1, 64, 64), (1, 64, 64)]]
    return model(some(1, 2 * 4096, 64), some(1, TEXT, 3584), timestep=some(1), img_shapes=grid)


def decodes(channels: int, *latents: int) -> Ask:
    """Have a VAE decode latents."""
    return lambda model: model.decode(some(1, channels, *latents))


def unguided(model: Any) -> Any:
    """Have a model of Stable Diffusion 3 denoise 1024 by 1024 pixels with the negative prompt beside."""
    return model(some(2, 16, 128, 128), some(2, 333, 4096), some(2, 2048), some(2))


def unguided_unet(model: Any) -> Any:
    """Have SDXL's UNet do the same."""
    more = {"text_embeds": some(2, 1280), "time_ids": some(2, 6)}
    return model(some(2, 4, 128, 128), some(1), some(2, 77, 2048), added_cond_kwargs=more)


ASKS: Mapping[str, Ask] = {
    "FluxTransformer2DModel": joint(64, 4096),
    "Flux2Transformer2DModel": joint(128, 15360),
    "QwenImageTransformer2DModel": edits,
    "ZImageTransformer2DModel": lambda model: model([some(16, 1, 128, 128)], some(1), [some(TEXT, 2560)]),
    "SD3Transformer2DModel": unguided,
    "UNet2DConditionModel": unguided_unet,
    "WanTransformer3DModel": lambda model: model(some(1, 48, 31, 44, 80), some(1), some(1, TEXT, 4096)),
    "AutoencoderKL": lambda model: model.decode(some(1, model.config.latent_channels, 128, 128)),
    "AutoencoderKLFlux2": decodes(32, 128, 128),
    "AutoencoderKLQwenImage": decodes(16, 1, 128, 128),
    "AutoencoderKLWan": decodes(48, 5, 44, 80),
}


if __name__ == "__main__":
    torch.nn.functional.scaled_dot_product_attention = attention  # type: ignore[assignment]
    json.dump([alive(*asked) for asked in json.load(sys.stdin)], sys.stdout)
