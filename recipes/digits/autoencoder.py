"""The picture autoencoder: 32 x 32 RGB to 16 channels of 8 x 8 and back."""

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn.functional import mse_loss
from training import descend

BATCH = 32
PEAK = 2e-3
KL_WEIGHT = 3e-4
CHANNELS = (16, 32, 64)


def new_autoencoder() -> AutoencoderKL:
    blocks = len(CHANNELS)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=16,
        sample_size=32,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
    )


def train_autoencoder(pictures: Tensor, steps: int, draw: torch.Generator) -> AutoencoderKL:
    """Fit an autoencoder to `pictures` (n, 3, 32, 32) in -1..1; its latents come out centred and of unit variance.

    The mean and the deviation of the latents go to `shift_factor` and `scaling_factor`, where pipelines look.
    """
    model = new_autoencoder().train()

    def loss() -> Tensor:
        batch = pictures[torch.randint(len(pictures), (BATCH,), generator=draw)]
        posterior = model.encode(batch).latent_dist
        rebuilt = model.decode(posterior.sample(generator=draw)).sample
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        return mse_loss(rebuilt.float(), batch) + KL_WEIGHT * divergence

    descend("autoencoder", [model], steps, PEAK, loss)
    model.eval().to(torch.bfloat16)
    raw = _means(model, pictures)
    shift, scale = round(raw.mean().item(), 4), round(1 / raw.std().item(), 4)
    model.register_to_config(shift_factor=shift, scaling_factor=scale)
    return model


def latents_of(model: AutoencoderKL, pictures: Tensor) -> Tensor:
    """The normalised latents (n, 16, 8, 8) in float32, as a transformer sees them."""
    return (_means(model, pictures) - model.config.shift_factor) * model.config.scaling_factor


@torch.no_grad()
def _means(model: AutoencoderKL, pictures: Tensor) -> Tensor:
    return torch.cat([model.encode(part.bfloat16()).latent_dist.mode().float() for part in pictures.split(256)])
