"""The footprint: what a source takes of a graphics card while it is called, by the ways that diffusers has to run it.

Weights are exact, from headers. What a call takes beside them is reckoned from configs alone, as so many tensors of the
widest layer in 16 bits of what a component looks at:

- a denoiser at the tokens of all frames, and of the text (`TEXT`), and of a picture that is changed, which lies beside
  the one that is drawn; twice where one forward has the negative prompt too, which pictures of models without
  ``guidance_embeds`` are taken to do unless ``guidance_scale`` is 0; a UNet at its positions;
- a VAE at every pixel, of `CHUNK` frames at once, as causal ones of videos decode them;
- everything else at the tokens of the text, with the hidden states of all layers, and with the logits of each where it
  is a language model; and at those of the picture, where it is one that sees.

How many tensors those are, the libraries' own forwards tell on the meta device (`tests/recipes/alive.py`), which know
nothing of what convolutions and the allocator take beside them. Of that there is what was published, in GiB:

- FLUX.1-dev (1024 by 1024 pixels, derekl35/diffusers-quantization-benchmarks): beside the loaded weights bfloat16 took
  4.8, bitsandbytes nf4 4.7 and int8 5.1, torchao and quanto int8 4.5, where 5.0 are reckoned for the VAE, which is the
  peak; int4 of both took 4.1 and 3.8. One forward of its transformer took 0.44 (diffusers/benchmarks), where 0.53 are
  reckoned.
- Wan 2.2 5B (121 frames of 1280 by 704, https://github.com/huggingface/diffusers/issues/12097): decoding in float32
  took the card to 26 GB, which without the weights is 10.6 in 16 bits, where 10.7 are reckoned.

So it is off by -0.1 to +1.2 GiB, and rarely too little.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final

from pipeline.plan.budget import Candidate
from pipeline.plan.model import Slots, flat
from pipeline.plan.parts import CardMemory, Offload
from pipeline.source.layout import Component, Place, read_json
from pipeline.source.safetensors import FLOATS, TensorInfo
from pipeline.tasks import TASKS

DENOISER: Final = 20  # tensors: 17 in FLUX.1, and 22 in FLUX.2, for whose other two the reserve has room
CONVOLVED: Final = 20  # in a VAE of pictures: 6, and what cuDNN takes
CAUSAL: Final = 25  # in one of videos: 22 in Wan 2.2, with the frames before
ENCODER: Final = 42  # in what reads the text: 41 in Mistral 24B
SEES: Final = 28  # pixels along the side of a token of a picture that an encoder sees, as Qwen2.5-VL has them
SPEAKS: Final = ("ForCausalLM", "ForConditionalGeneration")  # how classes are called that have logits
RESERVE: Final = 600 * 10**6  # bytes of CUDA's context, its libraries' workspaces, and what the allocator cannot use
BFLOAT16: Final = 2  # bytes of a value as everything is loaded that is not quantized
SIDE: Final = 1024  # pixels where neither the call nor the denoiser's config says
TEXT: Final = 512  # tokens where the call does not say
CHUNK: Final = 4  # frames that a VAE decodes at once
LATENT: Final = 8  # pixels along the side of a latent position where a VAE does not say
DEEPEST: Final = 10  # layers of a VAE, each of which but one halves the sides; DC-AE has 6
CHANNELS: Final = 128  # values of a pixel in the last layers of a VAE that does not say
PATCH: Final = 2  # latent positions along the side of a token; models that take more of them take less memory


@dataclass(frozen=True)
class Footprint:
    """What the components of a source take on a card beside their weights.

    Attributes:
        working: Bytes that a call takes while a component runs, reckoned.
        largest: Bytes of the largest tensor of each, which is what sequential offload moves at once.
    """

    working: Mapping[str, int]
    largest: Mapping[str, int]

    def needs(self, name: str, weights: int) -> int:
        """Return the bytes of a card that a component needs while it is there alone, as with model offload."""
        return weights + self.working[name] + RESERVE

    def running(self, candidates: Mapping[str, Sequence[Candidate]], card: int) -> dict[str, list[Candidate]]:
        """Return of what may be done to each component that with which it runs on a card, be it offloaded by models.

        Components run one after another, so each is asked by itself, and the best whole is made of the best parts.
        """
        return {
            name: [one for one in parts if self.needs(name, one.memory) <= card] for name, parts in candidates.items()
        }

    def memory(self, weights: Mapping[str, int]) -> dict[Offload, CardMemory]:
        """Return what a whole takes of a card by the ways to run it.

        Args:
            weights: Bytes of each component when it is loaded.
        """
        most = max(self.working.values())
        alone = max(weights, key=lambda name: weights[name] + self.working[name])
        piece = max(weights, key=lambda name: self.largest[name] + self.working[name])
        return {
            "none": CardMemory(weights=sum(weights.values()), reckoned=most + RESERVE),
            "model": CardMemory(weights=weights[alone], reckoned=self.working[alone] + RESERVE),
            "sequential": CardMemory(weights=self.largest[piece], reckoned=self.working[piece] + RESERVE),
        }


@dataclass(frozen=True)
class Frames:
    """What is drawn: pixels of one frame, how many there are, and the tokens of the text.

    Attributes:
        given: How many pictures are changed.
        passes: How often one forward denoises it, where the model has no guidance of its own.
    """

    height: int
    width: int
    count: int
    text: int
    given: int
    passes: int


def footprint(
    place: Place,
    components: Mapping[str, Component],
    slots: Mapping[str, Slots],
    call: Mapping[str, Any],
    task: str,
) -> Footprint:
    """Return what the components of a source take beside their weights when it is called so.

    Args:
        place: Where the source lies; the configs of its denoisers and its VAE are read.
        components: Its components that have weights.
        slots: Their tensors.
        call: The arguments of the call.
        task: What the source is for, which says whether a picture is changed.
    """
    configs = {name: read_json(place, part.config) for name, part in components.items() if part.library == "diffusers"}
    coders = [name for name in configs if is_coder(components[name])]
    coder = configs[coders[0]] if coders else {}
    denoisers = [config for name, config in configs.items() if name not in coders]
    drawn = drawn_by(call, coder, denoisers, 1 if task in TASKS and TASKS[task].files else 0)
    working = {}
    for name, part in slots.items():
        if name in coders:
            working[name] = decoding(configs[name], drawn)
        elif name in configs:
            working[name] = denoising(configs[name], coder, part, drawn)
        else:
            working[name] = reading(components[name].class_name, part, drawn)
    return Footprint(working, {name: max(map(loaded_size, flat(part).values())) for name, part in slots.items()})


def is_coder(component: Component) -> bool:
    """Tell an autoencoder from what denoises between its ends."""
    return "Autoencoder" in component.class_name or component.class_name.startswith("VQ")


def drawn_by(
    call: Mapping[str, Any], coder: Mapping[str, Any], denoisers: Sequence[Mapping[str, Any]], given: int
) -> Frames:
    """Return what a call draws; what it leaves out is what a denoiser was trained for."""
    trained = next(filter(None, (number(config, "sample_size") for config in denoisers)), 0)
    side = trained * shrinking(coder) or SIDE

    def said(word: str, otherwise: int) -> int:
        return call[word] if isinstance(call.get(word), int) else otherwise

    frames, text = said("num_frames", 1), said("max_sequence_length", TEXT)
    passes = 2 if frames == 1 and call.get("guidance_scale") != 0 else 1
    return Frames(said("height", side), said("width", side), frames, text, given, passes)


def shrinking(coder: Mapping[str, Any]) -> int:
    """Return how many pixels along a side become one latent position."""
    return number(coder, "scale_factor_spatial") or halved(coder) or LATENT


def halved(coder: Mapping[str, Any]) -> int:
    """Return the same as the layers of a VAE tell it; 0 where they do not, or are more than any has."""
    layers = coder.get("block_out_channels")
    return 2 ** (len(layers) - 1) if isinstance(layers, list) and 0 < len(layers) <= DEEPEST else 0


def decoding(coder: Mapping[str, Any], drawn: Frames) -> int:
    """Return the bytes that a VAE takes: its last layers have every pixel, or every patch of them (Wan 2.2)."""
    channels = number(coder, "decoder_base_dim", "base_dim", "block_out_channels") or CHANNELS
    causal = number(coder, "base_dim") > 0
    patch = number(coder, "patch_size") if causal else 0
    positions = drawn.height * drawn.width * min(drawn.count, CHUNK) // (patch or 1) ** 2
    return (CAUSAL if causal else CONVOLVED) * BFLOAT16 * positions * channels


def denoising(config: Mapping[str, Any], coder: Mapping[str, Any], slots: Slots, drawn: Frames) -> int:
    """Return the bytes that one forward of a denoiser takes."""
    passes = 1 if "guidance_embeds" in config else drawn.passes
    scale = shrinking(coder)
    if channels := number(config, "block_out_channels"):  # a UNet, whose first and last layers have the most values
        values = (drawn.height // scale) * (drawn.width // scale) * channels
    else:
        frames = 1 + (drawn.count - 1) // (number(coder, "scale_factor_temporal") or CHUNK)
        picture = (drawn.height // (scale * PATCH)) * (drawn.width // (scale * PATCH))
        values = ((frames + drawn.given) * picture + drawn.text) * width_of(slots)
    return DENOISER * BFLOAT16 * passes * values


def reading(class_name: str, slots: Slots, drawn: Frames) -> int:
    """Return the bytes that an encoder takes: language models say something of each token, and some see pictures."""
    speaks = class_name.endswith(SPEAKS)
    seen = drawn.given * (drawn.height // SEES) * (drawn.width // SEES) if class_name.endswith(SPEAKS[1]) else 0
    words = max((slot.shape[0] for slot in flat(slots).values() if len(slot.shape) == 2), default=0) if speaks else 0
    return BFLOAT16 * (drawn.text + seen) * (ENCODER * width_of(slots) + words)


def number(config: Mapping[str, Any], *words: str) -> int:
    """Return the first number that a config has under these words, of a list its first; 0 where it has none."""
    found = (config.get(word) for word in words)
    values = (value[0] if isinstance(value, list) and value else value for value in found)
    return next((value for value in values if isinstance(value, int) and value > 0), 0)


def width_of(slots: Slots) -> int:
    """Return the values that a model has of each token: what most of its matrices take."""
    inputs = Counter(slot.shape[-1] for slot in flat(slots).values() if len(slot.shape) == 2)
    return inputs.most_common(1)[0][0] if inputs else 0


def loaded_size(slot: TensorInfo) -> int:
    """Return the bytes of a tensor when it is loaded in bfloat16."""
    return prod(slot.shape) * BFLOAT16 if slot.dtype in FLOATS else slot.end - slot.begin
