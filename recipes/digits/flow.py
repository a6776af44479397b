"""The text-to-image model: a small Flux transformer and its two text encoders, trained jointly by flow matching."""

from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from training import descend
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel
from vocabulary import CLIP_LENGTH, T5_LENGTH, clip_tokenizer, t5_tokenizer

BATCH = 64
PEAK = 1e-3
SHIFT = 2.0
"""Towards noise, in training and in sampling alike: there it is decided which digit the picture will show."""
TEXT_WIDTH = 128
"""Widths are multiples of 64 throughout, so that every weight divides into quantization groups of 32 and of 64."""


@dataclass(frozen=True)
class Captions:
    """Token ids of each caption for the two text encoders: (n, 16) for CLIP, (n, 8) for T5."""

    clip: Tensor
    t5: Tensor

    def at(self, rows: Tensor) -> "Captions":
        return Captions(self.clip[rows], self.t5[rows])


@dataclass(frozen=True)
class TextToImage:
    """The three networks that are trained together."""

    transformer: FluxTransformer2DModel
    clip: CLIPTextModel
    t5: T5EncoderModel

    def modules(self) -> tuple[nn.Module, ...]:
        return self.transformer, self.clip, self.t5

    def velocity(self, noisy: Tensor, noise_share: Tensor, captions: Captions) -> Tensor:
        """The predicted direction from picture to noise, for packed latents (n, 16, 64)."""
        return self.transformer(
            hidden_states=noisy,
            timestep=noise_share,
            pooled_projections=self.clip(captions.clip).pooler_output,
            encoder_hidden_states=self.t5(captions.t5).last_hidden_state,
            txt_ids=torch.zeros(T5_LENGTH, 3),
            img_ids=FluxPipeline._prepare_latent_image_ids(1, 4, 4, "cpu", torch.float32),
            return_dict=False,
        )[0]


def new_text_to_image() -> TextToImage:
    transformer = FluxTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=3,
        attention_head_dim=64,
        num_attention_heads=4,
        joint_attention_dim=TEXT_WIDTH,
        pooled_projection_dim=TEXT_WIDTH,
        guidance_embeds=False,
        axes_dims_rope=(16, 24, 24),
    )
    return TextToImage(transformer.train(), _new_clip().train(), _new_t5().train())


def _new_clip() -> CLIPTextModel:
    tokenizer = clip_tokenizer()
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=2 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=CLIP_LENGTH,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def _new_t5() -> T5EncoderModel:
    tokenizer = t5_tokenizer()
    return T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=TEXT_WIDTH,
            d_kv=64,
            d_ff=2 * TEXT_WIDTH,
            num_layers=2,
            num_decoder_layers=0,
            num_heads=2,
            relative_attention_num_buckets=16,
            relative_attention_max_distance=16,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def tokenize(captions: list[str]) -> Captions:
    """The captions as FluxPipeline tokenizes them."""
    clip, t5 = (
        tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
        for tokenizer in (clip_tokenizer(), t5_tokenizer())
    )
    return Captions(clip, t5)


def train_text_to_image(latents: Tensor, captions: Captions, steps: int, draw: torch.Generator) -> TextToImage:
    """Fit the velocity from latents (n, 16, 8, 8) to noise, at shifted logit-normal noise shares, for each caption."""
    packed = FluxPipeline._pack_latents(latents, len(latents), 16, 8, 8)
    model = new_text_to_image()

    def loss() -> Tensor:
        rows = torch.randint(len(packed), (BATCH,), generator=draw)
        picture = packed[rows]
        noise = torch.randn(picture.shape, generator=draw)
        share = torch.randn(BATCH, generator=draw).sigmoid()
        share = SHIFT * share / (1 + (SHIFT - 1) * share)
        noisy = torch.lerp(picture, noise, share[:, None, None])
        return mse_loss(model.velocity(noisy, share, captions.at(rows)).float(), noise - picture)

    descend("text to image", model.modules(), steps, PEAK, loss)
    for module in model.modules():
        module.eval().to(torch.bfloat16)
    return model


def as_pipeline(model: TextToImage, autoencoder: AutoencoderKL) -> FluxPipeline:
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=SHIFT),
        vae=autoencoder,
        text_encoder=model.clip,
        tokenizer=clip_tokenizer(),
        text_encoder_2=model.t5,
        tokenizer_2=t5_tokenizer(),
        transformer=model.transformer,
    )
