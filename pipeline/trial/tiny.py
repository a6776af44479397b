"""Tiny models of random weights, whole enough to load and to answer: pipelines by their class, and single models.

Widths are 64 and 128, which the blocks of every scheme divide, and three layers stand on each other, of which recipes
may keep the first two. Tokenizers read letters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
DEPTH: Final = 3
WIDTH: Final = 128  # of denoisers, and of the encoders whose tokens they read
POOLED: Final = 64  # of CLIP
LENGTH: Final = 16  # tokens of a prompt
HEADS: Final = {"num_attention_heads": 2, "attention_head_dim": 64}
AXES: Final = (16, 24, 24)  # of the rotary embedding; they add up to a head
LATENTS: Final = 4
DECODER: Final = {
    "vocab_size": 320,
    "hidden_size": WIDTH,
    "intermediate_size": 256,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}
SPECIAL: Final = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"),
    *("<|image_pad|>", "<|video_pad|>", "[IMG]", "[IMG_BREAK]", "[IMG_END]"),
)
CHAT: Final = (
    "{% for message in messages %}{{ message['role'] }} "
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{% endif %} {% endfor %}"
)
SINGLE: Final = dict(  # the largest sizes of a single model, by what its config calls them
    **dict.fromkeys(("hidden_size", "d_model", "dim", "embedding_size"), 64),
    **dict.fromkeys(("intermediate_size", "d_ff", "hidden_dim", "encoder_ffn_dim", "decoder_ffn_dim"), 128),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layers", "encoder_layers", "decoder_layers"), DEPTH),
    **dict.fromkeys(("num_attention_heads", "num_heads", "n_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    num_key_value_heads=2,
    head_dim=16,
    d_kv=16,
)

TOLD_APART: Final = ("model_type", "transformers_version")


def clip_tokenizer() -> Any:
    """A tokenizer as CLIP has it."""
    from transformers import CLIPTokenizer

    tokens = ["<|startoftext|>", "<|endoftext|>", *(letter + end for letter in LETTERS for end in ("", "</w>"))]
    numbered = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=numbered, merges=[], model_max_length=LENGTH)


def clip(kind: str = "CLIPTextModel") -> Any:
    """A text encoder of CLIP."""
    import transformers

    config = transformers.CLIPTextConfig(
        vocab_size=2 + 2 * len(LETTERS),
        hidden_size=POOLED,
        projection_dim=POOLED,
        intermediate_size=128,
        num_hidden_layers=DEPTH,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return getattr(transformers, kind)(config)


def t5_tokenizer() -> Any:
    """A tokenizer as T5 has it."""
    from transformers import T5Tokenizer

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((letter, -3.0) for letter in LETTERS)]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=LENGTH)


def t5(kind: str = "T5") -> Any:
    """The encoder of T5 or UMT5."""
    import transformers

    config = getattr(transformers, f"{kind}Config")(
        vocab_size=64, d_model=WIDTH, d_kv=32, d_ff=256, num_layers=DEPTH, num_heads=4, feed_forward_proj="gated-gelu"
    )
    return getattr(transformers, f"{kind}EncoderModel")(config)


def qwen_tokenizer() -> Any:
    """A tokenizer as Qwen has it, by bytes, with a template of chats."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    tokens = [*sorted(ByteLevel.alphabet()), *SPECIAL]
    made = Qwen2Tokenizer(vocab={token: number for number, token in enumerate(tokens)}, merges=[])
    made.add_special_tokens({"additional_special_tokens": list(SPECIAL[1:])})
    made.chat_template = CHAT
    return made


def qwen_3(kind: str) -> Any:
    """A language model of Qwen 3."""
    import transformers

    return getattr(transformers, kind)(transformers.Qwen3Config(**DECODER, head_dim=64))


def qwen_2_5_vl() -> Any:
    """The model of language and vision of Qwen 2.5."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    tokens = qwen_tokenizer()
    named = {"image": "<|image_pad|>", "video": "<|video_pad|>", "vision_start": "<|vision_start|>"}
    named |= {"vision_end": "<|vision_end|>"}
    config = Qwen2_5_VLConfig(
        text_config={**DECODER, "rope_parameters": {"rope_type": "default", "mrope_section": [8, 12, 12]}},
        vision_config={
            "depth": 2,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 2,
            "out_hidden_size": WIDTH,
            "fullatt_block_indexes": [1],
        },
        **{f"{name}_token_id": tokens.convert_tokens_to_ids(token) for name, token in named.items()},
    )
    return Qwen2_5_VLForConditionalGeneration(config)


def mistral_3() -> Any:
    """The model of language and vision of Mistral Small."""
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration

    eye = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Mistral3Config(
        text_config={"model_type": "mistral", **DECODER, "head_dim": 64},
        vision_config={"model_type": "pixtral", **eye, "patch_size": 14, "image_size": 56},
        image_token_index=qwen_tokenizer().convert_tokens_to_ids("[IMG]"),
    )
    return Mistral3ForConditionalGeneration(config)


def vae(**config: Any) -> Any:
    """The autoencoder of Stable Diffusion and FLUX.1."""
    from diffusers import AutoencoderKL

    small = {"block_out_channels": (32,), "norm_num_groups": 8, "layers_per_block": 1, "sample_size": 16}
    return AutoencoderKL(**small, latent_channels=LATENTS, **config)


def flow() -> Any:
    """The scheduler of models that were trained on flows."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler()


def flux() -> dict[str, Any]:
    """FLUX.1."""
    from diffusers import FluxTransformer2DModel

    return {
        "scheduler": flow(),
        "vae": vae(use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.0, scaling_factor=1.0),
        "text_encoder": clip(),
        "tokenizer": clip_tokenizer(),
        "text_encoder_2": t5(),
        "tokenizer_2": t5_tokenizer(),
        "transformer": FluxTransformer2DModel(
            in_channels=4 * LATENTS,
            num_layers=DEPTH,
            num_single_layers=DEPTH,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=POOLED,
            axes_dims_rope=AXES,
            guidance_embeds=True,
            **HEADS,
        ),
    }


def flux_2(encoder: Any, *, guidance: bool) -> dict[str, Any]:
    """FLUX.2, whose denoiser reads three layers of its encoder beside each other."""
    from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel

    return {
        "scheduler": flow(),
        "vae": AutoencoderKLFlux2(
            down_block_types=("DownEncoderBlock2D",),
            up_block_types=("UpDecoderBlock2D",),
            block_out_channels=(32,),
            layers_per_block=1,
            latent_channels=LATENTS,
            norm_num_groups=8,
            sample_size=16,
        ),
        "text_encoder": encoder,
        "tokenizer": qwen_tokenizer(),
        "transformer": Flux2Transformer2DModel(
            in_channels=4 * LATENTS,
            num_layers=DEPTH,
            num_single_layers=DEPTH,
            joint_attention_dim=3 * WIDTH,
            timestep_guidance_channels=64,
            axes_dims_rope=(16, 16, 16, 16),
            guidance_embeds=guidance,
            **HEADS,
        ),
    }


def qwen_image() -> dict[str, Any]:
    """Qwen-Image."""
    from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel

    return {
        "scheduler": flow(),
        "vae": AutoencoderKLQwenImage(
            base_dim=8,
            z_dim=LATENTS,
            dim_mult=[1, 1],
            num_res_blocks=1,
            temperal_downsample=[False],
            latents_mean=[0.0] * LATENTS,
            latents_std=[1.0] * LATENTS,
        ),
        "text_encoder": qwen_2_5_vl(),
        "tokenizer": qwen_tokenizer(),
        "transformer": QwenImageTransformer2DModel(
            in_channels=4 * LATENTS,
            out_channels=LATENTS,
            num_layers=DEPTH,
            joint_attention_dim=WIDTH,
            axes_dims_rope=AXES,
            **HEADS,
        ),
    }


def z_image() -> dict[str, Any]:
    """Z-Image."""
    from diffusers import ZImageTransformer2DModel

    return {
        "scheduler": flow(),
        "vae": vae(use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.0, scaling_factor=1.0),
        "text_encoder": qwen_3("Qwen3Model"),
        "tokenizer": qwen_tokenizer(),
        "transformer": ZImageTransformer2DModel(
            in_channels=LATENTS,
            dim=WIDTH,
            n_layers=DEPTH,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=WIDTH,
            axes_dims=list(AXES),
            axes_lens=[1024, 64, 64],
        ),
    }


def unet(**config: Any) -> Any:
    """The denoiser of Stable Diffusion."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(32, 64),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=(1, 2),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **config,
    )


def stable_diffusion() -> dict[str, Any]:
    """Stable Diffusion before XL."""
    from diffusers import DDIMScheduler

    return {
        "scheduler": DDIMScheduler(steps_offset=1, clip_sample=False, set_alpha_to_one=False),
        "vae": vae(),
        "text_encoder": clip(),
        "tokenizer": clip_tokenizer(),
        "unet": unet(cross_attention_dim=POOLED),
        "safety_checker": None,
        "feature_extractor": None,
    }


def stable_diffusion_xl() -> dict[str, Any]:
    """Stable Diffusion XL."""
    from diffusers import EulerDiscreteScheduler

    return {
        "scheduler": EulerDiscreteScheduler(),
        "vae": vae(),
        "text_encoder": clip(),
        "tokenizer": clip_tokenizer(),
        "text_encoder_2": clip("CLIPTextModelWithProjection"),
        "tokenizer_2": clip_tokenizer(),
        "unet": unet(
            cross_attention_dim=2 * POOLED,
            use_linear_projection=True,
            transformer_layers_per_block=(1, 2),
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + POOLED,
        ),
    }


def stable_diffusion_3() -> dict[str, Any]:
    """Stable Diffusion 3."""
    from diffusers import SD3Transformer2DModel

    return {
        "scheduler": flow(),
        "vae": vae(use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.0, scaling_factor=1.0),
        "text_encoder": clip("CLIPTextModelWithProjection"),
        "tokenizer": clip_tokenizer(),
        "text_encoder_2": clip("CLIPTextModelWithProjection"),
        "tokenizer_2": clip_tokenizer(),
        "text_encoder_3": t5(),
        "tokenizer_3": t5_tokenizer(),
        "transformer": SD3Transformer2DModel(
            sample_size=16,
            in_channels=LATENTS,
            out_channels=LATENTS,
            num_layers=DEPTH,
            joint_attention_dim=WIDTH,
            caption_projection_dim=WIDTH,
            pooled_projection_dim=2 * POOLED,
            pos_embed_max_size=16,
            dual_attention_layers=(0,),
            qk_norm="rms_norm",
            **HEADS,
        ),
    }


def wan() -> dict[str, Any]:
    """Wan."""
    from diffusers import AutoencoderKLWan, WanTransformer3DModel

    return {
        "scheduler": flow(),
        "vae": AutoencoderKLWan(base_dim=8, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1),
        "text_encoder": t5("UMT5"),
        "tokenizer": t5_tokenizer(),
        "transformer": WanTransformer3DModel(
            text_dim=WIDTH, freq_dim=64, ffn_dim=256, num_layers=DEPTH, in_channels=16, out_channels=16, **HEADS
        ),
    }


PIPELINES: Final[dict[str, Callable[[], dict[str, Any]]]] = {
    "FluxPipeline": flux,
    "Flux2Pipeline": lambda: flux_2(mistral_3(), guidance=True),  # its processor wants torchvision; a tokenizer will do
    "Flux2KleinPipeline": lambda: flux_2(qwen_3("Qwen3ForCausalLM"), guidance=False),
    "QwenImagePipeline": qwen_image,
    "ZImagePipeline": z_image,
    "StableDiffusionPipeline": stable_diffusion,
    "StableDiffusionXLPipeline": stable_diffusion_xl,
    "StableDiffusion3Pipeline": stable_diffusion_3,
    "WanPipeline": wan,
}


def pipeline(name: str) -> Any:
    """Return a tiny pipeline of a class of `PIPELINES`."""
    import diffusers
    import torch

    torch.manual_seed(0)
    return getattr(diffusers, name)(**PIPELINES[name]()).to(torch.bfloat16)


def shrunk(config: Mapping[str, Any], loader: str = "AutoModel") -> Any:
    """Return a single model of a config with its sizes made small, of the class that its loader takes."""
    import torch
    import transformers
    from transformers import AutoConfig

    torch.manual_seed(0)
    kind, depth = config["model_type"], "num_hidden_layers"
    given = {name: value for name, value in config.items() if name not in TOLD_APART}
    whole = AutoConfig.for_model(kind, **given).to_dict()
    sizes = {name: min(most, whole[name]) for name, most in SINGLE.items() if isinstance(whole.get(name), int)}
    lists = {name: value for name, value in whole.items() if isinstance(value, list) and len(value) == whole.get(depth)}
    fewer = {name: value[:DEPTH] for name, value in lists.items()}  # a word for each layer
    return getattr(transformers, loader).from_config(AutoConfig.for_model(kind, **given | fewer | sizes))


def embedder() -> tuple[Any, Any]:
    """Return a BERT of random weights and its tokenizer."""
    from transformers import BertTokenizerFast

    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": DEPTH, "num_attention_heads": 4}
    model = shrunk({"model_type": "bert", "vocab_size": 64, "initializer_range": 0.5, **sizes})
    return model, BertTokenizerFast(vocab={token: at for at, token in enumerate(tokens)}, model_max_length=512)


def talker() -> tuple[Any, Any]:
    """Return a language model of random weights and its tokenizer, which has a template of chats."""
    import torch

    torch.manual_seed(0)
    return qwen_3("Qwen3ForCausalLM"), qwen_tokenizer()


def listener() -> tuple[Any, Any]:
    """Return a Whisper of random weights that hears two seconds at once, and its processor, which spells letters."""
    from transformers import AddedToken, GenerationConfig, WhisperFeatureExtractor, WhisperProcessor, WhisperTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    marks = ("endoftext", "startoftranscript", "en", "transcribe", "translate", "startofprev", "notimestamps")
    words = WhisperTokenizer(vocab={letter: at for at, letter in enumerate(bytes_to_unicode().values())}, merges=[])
    words.add_special_tokens({"additional_special_tokens": [f"<|{mark}|>" for mark in marks]})
    words.add_tokens([AddedToken(f"<|{moment / 50:.2f}|>", normalized=False) for moment in range(101)])
    end, start, *_, previous, untimed = words.convert_tokens_to_ids([f"<|{mark}|>" for mark in marks])
    spelled = words.convert_tokens_to_ids(["\u0120", *LETTERS])  # the first is how a space is written
    named = {"bos_token_id": start, "eos_token_id": end, "pad_token_id": end, "decoder_start_token_id": start}
    sizes = {"d_model": 64, "vocab_size": len(words), "max_source_positions": 100, "num_mel_bins": 16, "init_std": 0.3}
    model = shrunk({"model_type": "whisper", **sizes, **named}, "AutoModelForSpeechSeq2Seq")
    model.generation_config = GenerationConfig(
        forced_decoder_ids=[[1, untimed]],
        is_multilingual=False,
        max_length=64,
        no_timestamps_token_id=untimed,
        prev_sot_token_id=previous,
        return_timestamps=False,
        suppress_tokens=sorted({*range(untimed + 1)} - {end, *spelled}),
        **named,
    )
    return model, WhisperProcessor(WhisperFeatureExtractor(feature_size=16, chunk_length=2), words)
