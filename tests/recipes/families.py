"""The repositories that the recipes name, in their published shapes: classes, sizes, dtypes, and how they are sharded.

Sizes are those of the published configs; what is left out is the default of the class in the installed library.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipeline.backends.gguf.vocabulary import SPLITS

Config = dict[str, Any]
Files = dict[str, Config]


@dataclass(frozen=True)
class Part:
    """One component with weights.

    Attributes:
        name: The class, after its library.
        config: Arguments of its constructor, or of its config.
        shallow: What of them makes it one layer of each kind, as wide as the real one.
        dtype: How its weights are stored.
        renamed: What names begin with in the model, by what they begin with in the files.
        repeated: Tensors that the files have though the model ties them, by the name of the other.
        variant: What stands in the names of its files, such as ``fp16``.
    """

    name: tuple[str, str]
    config: Config = field(default_factory=dict)
    shallow: Config = field(default_factory=dict)
    dtype: str = "BF16"
    renamed: tuple[tuple[str, str], ...] = ()
    variant: str = ""
    repeated: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Family:
    """One repository.

    Attributes:
        pipeline: The class of its pipeline; empty of a single model.
        parts: Its components with weights, by name; a single model is called as plans call it.
        small: Its components without, such as a scheduler, by name.
        license: As its card says.
        published: Bytes of its weights as others counted them, by component; empty for all together.
        beside: Further files that plans read of it, by path.
    """

    pipeline: str
    parts: dict[str, Part]
    small: dict[str, tuple[str, str]]
    license: str
    published: dict[str, float] = field(default_factory=dict)
    beside: Files = field(default_factory=dict)


SHALLOW = {"num_hidden_layers": 1, "vocab_size": 1024}  # embeddings are no layer, and large
FLOW = ("diffusers", "FlowMatchEulerDiscreteScheduler")
CLIP_TOKENIZER, T5_TOKENIZER = ("transformers", "CLIPTokenizer"), ("transformers", "T5TokenizerFast")
QWEN_TOKENIZER = ("transformers", "Qwen2Tokenizer")


def flux(*, guidance: bool) -> Part:
    """FLUX.1, 12 billion parameters."""
    return Part(
        ("diffusers", "FluxTransformer2DModel"),
        {"guidance_embeds": guidance},
        {"num_layers": 1, "num_single_layers": 1},
    )


def flux2(**config: Any) -> Part:
    """FLUX.2; the defaults of its class are those of dev, 32 billion parameters."""
    return Part(("diffusers", "Flux2Transformer2DModel"), config, {"num_layers": 1, "num_single_layers": 1})


def clip(projected: str = "", dtype: str = "BF16", variant: str = "") -> Part:
    """CLIP's text encoder: L, or bigG."""
    wide = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20}
    long = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    if projected == "G":
        config = {**wide, "hidden_act": "gelu", "projection_dim": 1280}
    else:
        config = {**long, "projection_dim": 768}
    name = "CLIPTextModelWithProjection" if projected else "CLIPTextModel"
    inner = () if projected else (("", "text_model."),)  # which transformers 5 takes off
    return Part(("transformers", name), config, SHALLOW, dtype, inner, variant)


def t5(name: str = "T5EncoderModel", vocabulary: int = 32128, dtype: str = "BF16") -> Part:
    """The encoder of T5-XXL, or of UMT5-XXL."""
    config = {
        "vocab_size": vocabulary,
        "d_model": 4096,
        "d_kv": 64,
        "d_ff": 10240,
        "num_layers": 24,
        "num_heads": 64,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
    }
    return Part(("transformers", name), config, {"num_layers": 1, "vocab_size": 1024}, dtype)


def vae(variant: str = "", dtype: str = "BF16", *, convolved: bool = False, **config: Any) -> Part:
    """The autoencoder of SDXL, SD 3 and FLUX.1, which differ in their latents."""
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
    wide = {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2}
    quant = {"use_quant_conv": convolved, "use_post_quant_conv": convolved}
    return Part(("diffusers", "AutoencoderKL"), {**blocks, **wide, **quant, **config}, dtype=dtype, variant=variant)


QWEN_3_4B = {
    "vocab_size": 151936,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "tie_word_embeddings": True,
}
QWEN_3_8B = {**QWEN_3_4B, "hidden_size": 4096, "intermediate_size": 12288, "tie_word_embeddings": False}
QWEN_2_5_VL = Part(
    ("transformers", "Qwen2_5_VLForConditionalGeneration"),
    {
        "text_config": {
            "vocab_size": 152064,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
        },
        "vision_config": {
            "depth": 32,
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "num_heads": 16,
            "out_hidden_size": 3584,
        },
        "tie_word_embeddings": False,
    },
    {"text_config": SHALLOW, "vision_config": {"depth": 1}},
    renamed=(("model.language_model.", "model."), ("model.visual.", "visual.")),
)
MISTRAL_3 = Part(
    ("transformers", "Mistral3ForConditionalGeneration"),
    {
        "text_config": {
            "model_type": "mistral",
            "vocab_size": 131072,
            "hidden_size": 5120,
            "intermediate_size": 32768,
            "num_hidden_layers": 40,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
        },
        "vision_config": {
            "model_type": "pixtral",
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "patch_size": 14,
            "image_size": 1540,
        },
        "spatial_merge_size": 2,
        "tie_word_embeddings": False,
    },
    {"text_config": SHALLOW, "vision_config": {"num_hidden_layers": 1}},
    renamed=(
        ("model.language_model.", "language_model.model."),
        ("model.vision_tower.", "vision_tower."),
        ("model.multi_modal_projector.", "multi_modal_projector."),
        ("lm_head.", "language_model.lm_head."),
    ),
)
QWEN_IMAGE = Part(("diffusers", "QwenImageTransformer2DModel"), shallow={"num_layers": 3})  # two stay
QWEN_VAE = Part(("diffusers", "AutoencoderKLQwenImage"))
SDXL = Part(
    ("diffusers", "UNet2DConditionModel"),
    {
        "sample_size": 128,
        "block_out_channels": [320, 640, 1280],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "cross_attention_dim": 2048,
        "attention_head_dim": [5, 10, 20],
        "transformer_layers_per_block": [1, 2, 10],
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
    {"layers_per_block": 1, "transformer_layers_per_block": [1, 1, 1]},
    "F16",
    variant="fp16",
)
SD_3_5 = {"pooled_projection_dim": 2048, "joint_attention_dim": 4096, "qk_norm": "rms_norm", "out_channels": 16}
SD_3_VAE = {"latent_channels": 16, "scaling_factor": 1.5305, "shift_factor": 0.0609}
SD_3_SMALL = {
    "scheduler": FLOW,
    "tokenizer": CLIP_TOKENIZER,
    "tokenizer_2": CLIP_TOKENIZER,
    "tokenizer_3": T5_TOKENIZER,
}
WAN = {
    "num_attention_heads": 24,
    "in_channels": 48,
    "out_channels": 48,
    "ffn_dim": 14336,
    "num_layers": 30,
}
WAN_VAE = {
    "base_dim": 160,
    "decoder_base_dim": 256,
    "z_dim": 48,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "is_residual": True,
    "scale_factor_spatial": 16,
    "temperal_downsample": [False, True, True],
}


def flux_1(*, guidance: bool, license: str, published: float) -> Family:  # noqa: A002  as the card calls it
    """FLUX.1 with its two encoders."""
    parts = {"transformer": flux(guidance=guidance), "text_encoder": clip(), "text_encoder_2": t5()}
    small = {"scheduler": FLOW, "tokenizer": CLIP_TOKENIZER, "tokenizer_2": T5_TOKENIZER}
    found = {"transformer": published, "vae": 167_666_902}
    return Family("FluxPipeline", {**parts, "vae": vae(latent_channels=16)}, small, license, found)


def flux_2_klein(encoder: Config, license: str, published: float, **transformer: Any) -> Family:  # noqa: A002
    """FLUX.2 klein with the Qwen3 that reads its prompt."""
    parts = {
        "transformer": flux2(guidance_embeds=False, **transformer),
        "text_encoder": Part(("transformers", "Qwen3ForCausalLM"), encoder, SHALLOW),
        "vae": Part(("diffusers", "AutoencoderKLFlux2")),
    }
    small = {"scheduler": FLOW, "tokenizer": QWEN_TOKENIZER}
    return Family("Flux2KleinPipeline", parts, small, license, {"": published})


def stable_diffusion_3(published: float, **transformer: Any) -> Family:
    """Stable Diffusion 3.5 with its three encoders."""
    name, shallow = ("diffusers", "SD3Transformer2DModel"), {"num_layers": 1, "dual_attention_layers": []}
    parts = {
        "transformer": Part(name, {**SD_3_5, **transformer}, shallow),
        "text_encoder": clip("L", "F16"),
        "text_encoder_2": clip("G", "F16"),
        "text_encoder_3": t5(dtype="F16"),
        "vae": vae(**SD_3_VAE),
    }
    return Family("StableDiffusion3Pipeline", parts, SD_3_SMALL, "other", {"transformer": published})


def whisper(width: int, layers: int, published: int, dtype: str = "F32", **config: Any) -> Family:
    """Whisper, whose encoder and decoder are as deep as each other but in turbo."""
    shape = {
        "vocab_size": 51865,
        "d_model": width,
        "encoder_layers": layers,
        "decoder_layers": layers,
        "encoder_attention_heads": width // 64,
        "decoder_attention_heads": width // 64,
        "encoder_ffn_dim": 4 * width,
        "decoder_ffn_dim": 4 * width,
    }
    name = ("transformers", "WhisperForConditionalGeneration")
    shallow = {"encoder_layers": 1, "decoder_layers": 1}
    return single(Part(name, {**shape, **config}, shallow, dtype), "apache-2.0", published)


QWEN_SPLITS: Files = {  # a tokenizer.json that holds no more than what tells how it splits texts
    "tokenizer.json": {
        "model": {"type": "BPE", "vocab": {}, "merges": []},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": SPLITS["qwen2"][0][0][1]}, "behavior": "Isolated"},
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            ],
        },
    }
}


def single(part: Part, license: str, published: float, beside: Files | None = None) -> Family:  # noqa: A002  as the card calls it
    """Return a repository of one model, with what lies beside it."""
    return Family("", {"model": part}, {}, license, {"model": published}, beside or {})


FAMILIES: dict[str, Family] = {
    "black-forest-labs/FLUX.1-dev": flux_1(guidance=True, license="other", published=23_802_932_552),
    "black-forest-labs/FLUX.1-schnell": flux_1(guidance=False, license="apache-2.0", published=23_782_506_688),
    "black-forest-labs/FLUX.2-dev": Family(
        "Flux2Pipeline",
        {"transformer": flux2(), "text_encoder": MISTRAL_3, "vae": Part(("diffusers", "AutoencoderKLFlux2"))},
        {"scheduler": FLOW, "tokenizer": ("transformers", "PixtralProcessor")},
        "other",
        {"transformer": 64.4e9, "text_encoder": 48.0e9},
    ),
    "black-forest-labs/FLUX.2-klein-4B": flux_2_klein(
        QWEN_3_4B,
        "apache-2.0",
        15_980_141_329,
        num_layers=5,
        num_single_layers=20,
        num_attention_heads=24,
        joint_attention_dim=7680,
    ),
    "black-forest-labs/FLUX.2-klein-9B": flux_2_klein(
        QWEN_3_8B,
        "other",
        34_722_772_164,
        num_layers=8,
        num_single_layers=24,
        num_attention_heads=32,
        joint_attention_dim=12288,
    ),
    "Qwen/Qwen-Image": Family(
        "QwenImagePipeline",
        {"transformer": QWEN_IMAGE, "text_encoder": QWEN_2_5_VL, "vae": QWEN_VAE},
        {"scheduler": FLOW, "tokenizer": QWEN_TOKENIZER},
        "apache-2.0",
        {"transformer": 40.86e9, "text_encoder": 16.58e9},
    ),
    "Qwen/Qwen-Image-Edit": Family(
        "QwenImageEditPipeline",
        {"transformer": QWEN_IMAGE, "text_encoder": QWEN_2_5_VL, "vae": QWEN_VAE},
        {"scheduler": FLOW, "tokenizer": QWEN_TOKENIZER, "processor": ("transformers", "Qwen2VLProcessor")},
        "apache-2.0",
        {"transformer": 40.86e9, "text_encoder": 16.58e9},
    ),
    "Tongyi-MAI/Z-Image-Turbo": Family(
        "ZImagePipeline",
        {
            "transformer": Part(
                ("diffusers", "ZImageTransformer2DModel"), {}, {"n_layers": 1, "n_refiner_layers": 1}, "F32"
            ),
            "text_encoder": Part(("transformers", "Qwen3Model"), QWEN_3_4B, SHALLOW, renamed=(("", "model."),)),
            "vae": vae(latent_channels=16),
        },
        {"scheduler": FLOW, "tokenizer": QWEN_TOKENIZER},
        "apache-2.0",
        {"": 32.9e9},
    ),
    "stabilityai/stable-diffusion-xl-base-1.0": Family(
        "StableDiffusionXLPipeline",
        {
            "unet": SDXL,
            "text_encoder": clip(dtype="F16", variant="fp16"),
            "text_encoder_2": clip("G", "F16", "fp16"),
            "vae": vae("fp16", "F16", convolved=True, latent_channels=4),
        },
        {
            "scheduler": ("diffusers", "EulerDiscreteScheduler"),
            "tokenizer": CLIP_TOKENIZER,
            "tokenizer_2": CLIP_TOKENIZER,
        },
        "openrail++",
        {"unet": 5.135e9, "text_encoder_2": 1.39e9},
    ),
    "stabilityai/stable-diffusion-3.5-large": stable_diffusion_3(
        16.3e9,
        num_layers=38,
        num_attention_heads=38,
        caption_projection_dim=2432,
        pos_embed_max_size=192,
    ),
    "stabilityai/stable-diffusion-3.5-medium": stable_diffusion_3(
        4.94e9,
        num_layers=24,
        num_attention_heads=24,
        caption_projection_dim=1536,
        pos_embed_max_size=384,
        dual_attention_layers=list(range(13)),
    ),
    "Wan-AI/Wan2.2-TI2V-5B-Diffusers": Family(
        "WanPipeline",
        {
            "transformer": Part(("diffusers", "WanTransformer3DModel"), WAN, {"num_layers": 1}, "F32"),
            "text_encoder": t5("UMT5EncoderModel", 256384),
            "vae": Part(("diffusers", "AutoencoderKLWan"), WAN_VAE, dtype="F32"),
        },
        {"scheduler": ("diffusers", "UniPCMultistepScheduler"), "tokenizer": T5_TOKENIZER},
        "apache-2.0",
        {"transformer": 20.0e9, "text_encoder": 11.36e9},
    ),
    "sentence-transformers/all-MiniLM-L6-v2": single(
        Part(
            ("transformers", "BertModel"),
            {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536},
            SHALLOW,
            "F32",
        ),
        "apache-2.0",
        90.9e6,
    ),
    "openai/whisper-tiny": whisper(384, 4, 151_061_672),
    "openai/whisper-base": whisper(512, 6, 290_403_936),
    "openai/whisper-small": whisper(768, 12, 966_995_080),
    "openai/whisper-medium": whisper(1024, 24, 3_055_544_304),
    "openai/whisper-large-v3": whisper(1280, 32, 3_087_130_976, "F16", num_mel_bins=128, vocab_size=51866),
    "openai/whisper-large-v3-turbo": whisper(
        1280, 32, 1_617_824_864, "F16", num_mel_bins=128, vocab_size=51866, decoder_layers=4
    ),
    "Qwen/Qwen3-0.6B": single(
        Part(
            ("transformers", "Qwen3ForCausalLM"),
            {
                "vocab_size": 151936,
                "hidden_size": 1024,
                "intermediate_size": 3072,
                "num_hidden_layers": 28,
                "num_attention_heads": 16,
                "num_key_value_heads": 8,
                "head_dim": 128,
                "tie_word_embeddings": True,
                "eos_token_id": 151645,
            },
            {"num_hidden_layers": 1},
            repeated={"lm_head.weight": "model.embed_tokens.weight"},
        ),
        "apache-2.0",
        1_503_300_328,
        QWEN_SPLITS,
    ),
}
