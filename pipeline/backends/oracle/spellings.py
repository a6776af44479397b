"""How the families' own files call the tensors that diffusers renamed: what a single file is written by.

Only names are kept here, facts of published files that do not change. Which rows of which tensor lie where in a file is
asked of the installed diffusers, which also finds the name that is wrong here: see `probing`. Some names diffusers 0.42
does not know itself and leaves as they are; they stand here so that it is told, and no file has half of the names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from pipeline.backends.oracle.spelling import Rules, Spelling, flat, per_channel, pointwise

LAYERS: Final = {"linear_1": "in_layer", "linear_2": "out_layer"}
EMBEDDERS: Final[Rules] = {
    r"^time(_text|_guidance)_embed\.timestep_embedder": ("time_in", LAYERS),
    r"^time_text_embed\.text_embedder": ("vector_in", LAYERS),
    r"^time(_text|_guidance)_embed\.guidance_embedder": ("guidance_in", LAYERS),
    r"^context_embedder": "txt_in",
    r"^x_embedder": "img_in",
    r"^norm_out\.linear": "final_layer.adaLN_modulation.1",
    r"^proj_out": "final_layer.linear",
}
NORMS: Final = {r"attn\.norm_q\.weight": "norm.query_norm.scale", r"attn\.norm_k\.weight": "norm.key_norm.scale"}
DOUBLE: Final = {
    r"norm1\.linear": "img_mod.lin",
    r"norm1_context\.linear": "txt_mod.lin",
    r"attn\.to_[qkv]": "img_attn.qkv",
    r"attn\.add_[qkv]_proj": "txt_attn.qkv",
    r"attn\.norm_q\.weight": "img_attn.norm.query_norm.scale",
    r"attn\.norm_k\.weight": "img_attn.norm.key_norm.scale",
    r"attn\.norm_added_q\.weight": "txt_attn.norm.query_norm.scale",
    r"attn\.norm_added_k\.weight": "txt_attn.norm.key_norm.scale",
    r"attn\.to_out\.0": "img_attn.proj",
    r"attn\.to_add_out": "txt_attn.proj",
    r"ff\.(net\.0\.proj|linear_in)": "img_mlp.0",
    r"ff\.(net\.2|linear_out)": "img_mlp.2",
    r"ff_context\.(net\.0\.proj|linear_in)": "txt_mlp.0",
    r"ff_context\.(net\.2|linear_out)": "txt_mlp.2",
}
SINGLE: Final = {
    r"attn\.to_[qkv]\b|proj_mlp|attn\.to_qkv_mlp_proj": "linear1",
    r"proj_out|attn\.to_out": "linear2",
    r"norm\.linear": "modulation.lin",
    **NORMS,
}
FLUX: Final[Rules] = {
    **EMBEDDERS,
    r"^transformer_blocks": ("double_blocks", DOUBLE),
    r"^single_transformer_blocks": ("single_blocks", SINGLE),
    r"^distilled_guidance_layer\.layers": ("distilled_guidance_layer.layers", LAYERS),  # of Chroma
    r"^distilled_guidance_layer\.norms": ("distilled_guidance_layer.norms", {"weight": "scale"}),
    r"_modulation(_img|_txt|)\.linear": r"_modulation\1.lin",  # of FLUX.2
}
FLUX_3: Final[Rules] = {
    r"^timestep_embedder": ("time_in", LAYERS),
    r"^target_timestep_embedder": ("ref_time_in", LAYERS),
    r"^x_embedders": "emb_in",
    r"^context_embedder": "txt_in",
    r"_stream_modulations\.(\w+)\.linear": r"_stream_modulations.\1.lin",
    r"^mode_blocks": "content_mode_blocks",
    r"^single_transformer_blocks": "single_blocks",
    r"attn\.to_([qkv])": r"\1_proj",
    r"attn\.to_out\.0": "attn_out",
    r"ff\.linear_in": "mlp_in",
    r"ff\.linear_out": "mlp_out",
    **NORMS,
    r"^norm_out\.linear": "final_layer.image.adaLN_modulation.1",
    r"^proj_out": "final_layer.image.linear",
}
ATTENTION: Final = {
    r"(attn|attention)\.to_[qkv]": "attention.qkv",
    r"(attn|attention)\.to_out\.0": "attention.out",
    r"(attn|attention)\.norm_([qk])": r"attention.\2_norm",
}
Z_IMAGE: Final[Rules] = {
    **ATTENTION,
    r"^all_final_layer\.2-1": "final_layer",
    r"^all_x_embedder\.2-1": "x_embedder",
}
LUMINA_2: Final[Rules] = {
    **ATTENTION,
    r"^time_caption_embed\.caption_embedder": "cap_embedder",
    r"^time_caption_embed\.timestep_embedder\.linear_1": "t_embedder.mlp.0",
    r"^time_caption_embed\.timestep_embedder\.linear_2": "t_embedder.mlp.2",
    r"^norm_out\.linear_1": "final_layer.adaLN_modulation.1",
    r"^norm_out\.linear_2": "final_layer.linear",
    r"feed_forward\.linear_(\d)": r"feed_forward.w\1",
    r"\bnorm1\.linear": "adaLN_modulation.1",
    r"\bnorm1(\.norm)?": "attention_norm1",
    r"\bnorm2": "attention_norm2",
}
QWEN_IMAGE_21: Final[Rules] = {r"img_mlp\.(gate_layer|proj)": "img_mlp.gate_up"}
WAN_BLOCK: Final[Rules] = {
    r"attn1": "self_attn",
    r"attn2": "cross_attn",
    r"\.to_([qkv])\b": r".\1",
    r"\.to_out\.0": ".o",
    r"\.add_([kv])_proj": r".\1_img",
    r"\.norm_added_k": ".norm_k_img",
    r"scale_shift_table": "modulation",
    r"ffn\.net\.0\.proj": "ffn.0",
    r"ffn\.net\.2": "ffn.2",
    r"norm2": "norm3",
    r"norm3": "norm2",
    r"proj_in": "before_proj",
    r"proj_out": "after_proj",
}
CONVOLUTIONS: Final = "motion_encoder.enc.net_app.convs"
WAN: Final[Rules] = {
    r"^condition_embedder\.(time|text)_embedder\.linear_1": r"\1_embedding.0",
    r"^condition_embedder\.(time|text)_embedder\.linear_2": r"\1_embedding.2",
    r"^condition_embedder\.time_proj": "time_projection.1",
    r"^condition_embedder\.image_embedder\.norm1": "img_emb.proj.0",
    r"^condition_embedder\.image_embedder\.ff\.net\.0\.proj": "img_emb.proj.1",
    r"^condition_embedder\.image_embedder\.ff\.net\.2": "img_emb.proj.3",
    r"^condition_embedder\.image_embedder\.norm2": "img_emb.proj.4",
    r"^condition_embedder\.image_embedder\.pos_embed": "img_emb.emb_pos",  # of first and last frame
    r"^fps_projection\.net\.0\.proj": "fps_projection.0",  # of SkyReels
    r"^fps_projection\.net\.2": "fps_projection.2",
    r"^scale_shift_table": "head.modulation",
    r"^proj_out": "head.head",
    r"^(vace_)?blocks": (r"\1blocks", WAN_BLOCK),
    r"^motion_encoder\.motion_synthesis_weight": "motion_encoder.dec.direction.weight",  # of Wan-Animate, as all below
    r"^motion_encoder\.motion_network": "motion_encoder.enc.fc",
    r"^motion_encoder\.conv_in\.weight": f"{CONVOLUTIONS}.0.0.weight",
    r"^motion_encoder\.conv_in\.act_fn": f"{CONVOLUTIONS}.0.1",
    r"^motion_encoder\.conv_out": f"{CONVOLUTIONS}.8",
    **{
        rf"^motion_encoder\.res_blocks\.{block}\.": (
            f"{CONVOLUTIONS}.{block + 1}.",
            {
                r"^conv1\.weight": "conv1.0.weight",
                r"^conv1\.act_fn": "conv1.1",
                r"^conv2\.weight": "conv2.1.weight",
                r"^conv2\.act_fn": "conv2.2",
                r"^conv_skip": "skip.1",
            },
        )
        for block in range(7)
    },
    r"^face_encoder\.(conv1_local|conv2|conv3)": r"face_encoder.\1.conv",
    r"^face_adapter": (
        "face_adapter.fuser_blocks",
        {r"to_[kv]": "linear1_kv", r"to_q": "linear1_q", r"to_out": "linear2", r"norm_([qk])": r"\1_norm"},
    ),
}
WAN_ANIMATE_2: Final[Rules] = {
    r"^blocks\.(\d+)\.": (
        r"blocks.\1.block.",
        {
            r"\.to_([qkv])\b": r".\1",
            r"\.to_out\.0": ".o",
            r"\.add_([kv])_proj": r".\1_img",
            r"\.norm_added_k": ".norm_k_img",
        },
    )
}
RESIDUAL: Final[Rules] = {
    r"norm1": "residual.0",
    r"conv1": "residual.2",
    r"norm2": "residual.3",
    r"conv2": "residual.6",
    r"conv_shortcut": "shortcut",
}
WAN_VAE: Final[Rules] = {
    **{
        rf"^decoder\.up_blocks\.{block}\.{layer}\.": (f"decoder.upsamples.{4 * block + place}.", RESIDUAL)
        for block in range(4)
        for place, layer in enumerate((r"resnets\.0", r"resnets\.1", r"resnets\.2", r"upsamplers\.0"))
    },
    r"^encoder\.down_blocks\.(\d+)\.resnets": (r"encoder.downsamples.\1.downsamples", RESIDUAL),  # of Wan 2.2
    r"^encoder\.down_blocks": ("encoder.downsamples", RESIDUAL),
    r"^(encoder|decoder)\.mid_block\.resnets\.0": (r"\1.middle.0", RESIDUAL),
    r"^(encoder|decoder)\.mid_block\.attentions\.0": r"\1.middle.1",
    r"^(encoder|decoder)\.mid_block\.resnets\.1": (r"\1.middle.2", RESIDUAL),
    r"^(encoder|decoder)\.conv_in": r"\1.conv1",
    r"^(encoder|decoder)\.norm_out": r"\1.head.0",
    r"^(encoder|decoder)\.conv_out": r"\1.head.2",
    r"^quant_conv": "conv1",
    r"^post_quant_conv": "conv2",
}
LTX: Final[Rules] = {
    r"^(audio_|)proj_in": r"\1patchify_proj",
    r"^(audio_|)time_embed": r"\1adaln_single",
    r"\bnorm_([qk])\b": r"\1_norm",
    r"^(audio_|)prompt_adaln": r"\1prompt_adaln_single",  # of LTX-2.3
    r"^av_cross_attn_(video|audio)_scale_shift": r"av_ca_\1_scale_shift_adaln_single",  # of LTX-2, as all below
    r"^av_cross_attn_(video|audio)_(a2v|v2a)_gate": r"av_ca_\2_gate_adaln_single",
    r"(video|audio)_a2v_cross_attn_scale_shift_table": r"scale_shift_table_a2v_ca_\1",
}


def stacked(stack: str, parts: tuple[str, ...]) -> Rules:
    """Return the rules of a stack that a file numbers through, given diffusers' name of each of its parts."""
    side = stack.partition(".")[0]
    longest = sorted(enumerate(parts), key=lambda part: -len(part[1]))
    return {rf"^{side}\.{re.escape(part)}\b": f"{stack}.{number}" for number, part in longest}


UP: Final = tuple(f"up_blocks.{block}{part}" for block in range(4) for part in (".upsamplers.0", ""))
DOWN: Final = tuple(f"down_blocks.{block}{part}" for block in range(4) for part in ("", ".downsamplers.0"))
LTX_VAE: Final[Rules] = {
    r"^latents_mean": "per_channel_statistics.mean-of-means",
    r"^latents_std": "per_channel_statistics.std-of-means",
    r"resnets": "res_blocks",
}
LTX_ENCODER: Final = stacked("encoder.down_blocks", (*DOWN, "mid_block"))
LTX_DECODER: Final = stacked("decoder.up_blocks", ("mid_block", *UP))
LTX_1_VAE: Final[Rules] = {
    **LTX_VAE,
    r"norm3": "norm3.norm",
    r"conv_shortcut\.conv": "conv_shortcut",
    r"^decoder\.time_embedder": "decoder.last_time_embedder",
    r"^decoder\.scale_shift_table": "decoder.last_scale_shift_table",
}
LTX_090_ENCODER: Final = stacked(
    "encoder.down_blocks",
    (
        *("down_blocks.0", "down_blocks.0.downsamplers.0", "down_blocks.0.conv_out"),
        *("down_blocks.1", "down_blocks.1.downsamplers.0", "down_blocks.1.conv_out"),
        *("down_blocks.2", "down_blocks.2.downsamplers.0", "down_blocks.3", "mid_block"),
    ),
)
LTX_090_DECODER: Final = stacked(
    "decoder.up_blocks",
    (
        *("mid_block", "up_blocks.0", "up_blocks.1.upsamplers.0", "up_blocks.1"),
        *("up_blocks.2.conv_in", "up_blocks.2.upsamplers.0", "up_blocks.2"),
        *("up_blocks.3.conv_in", "up_blocks.3.upsamplers.0", "up_blocks.3"),
    ),
)
SD_3: Final[Rules] = {
    r"^pos_embed\.pos_embed": "pos_embed",
    r"^pos_embed\.proj": "x_embedder.proj",
    r"^time_text_embed\.timestep_embedder\.linear_1": "t_embedder.mlp.0",
    r"^time_text_embed\.timestep_embedder\.linear_2": "t_embedder.mlp.2",
    r"^time_text_embed\.text_embedder\.linear_1": "y_embedder.mlp.0",
    r"^time_text_embed\.text_embedder\.linear_2": "y_embedder.mlp.2",
    r"^transformer_blocks": (
        "joint_blocks",
        {
            r"(attn2?)\.to_[qkv]": r"x_block.\1.qkv",
            r"(attn2?)\.norm_([qk])": r"x_block.\1.ln_\2",
            r"(attn2?)\.to_out\.0": r"x_block.\1.proj",
            r"attn\.add_[qkv]_proj": "context_block.attn.qkv",
            r"attn\.norm_added_([qk])": r"context_block.attn.ln_\1",
            r"attn\.to_add_out": "context_block.attn.proj",
            r"norm1\.linear": "x_block.adaLN_modulation.1",
            r"norm1_context\.linear": "context_block.adaLN_modulation.1",
            r"ff\.net\.0\.proj": "x_block.mlp.fc1",
            r"ff\.net\.2": "x_block.mlp.fc2",
            r"ff_context\.net\.0\.proj": "context_block.mlp.fc1",
            r"ff_context\.net\.2": "context_block.mlp.fc2",
        },
    ),
    r"^norm_out\.linear": "final_layer.adaLN_modulation.1",
    r"^proj_out": "final_layer.linear",
}
GATED: Final = {r"linear_(\d)": r"c_fc\1", r"out_projection": "c_proj"}
AURAFLOW: Final[Rules] = {
    r"^time_step_proj\.linear_1": "t_embedder.mlp.0",
    r"^time_step_proj\.linear_2": "t_embedder.mlp.2",
    r"^context_embedder": "cond_seq_linear",
    r"^pos_embed\.pos_embed": "positional_encoding",
    r"^pos_embed\.proj": "init_x_linear",
    r"^norm_out\.linear": "modF.1",
    r"^proj_out": "final_linear",
    r"^single_transformer_blocks": (
        "single_layers",
        {
            r"ff": ("mlp", GATED),
            r"norm1\.linear": "modCX.1",
            r"attn\.to_([qkv])": r"attn.w1\1",
            r"attn\.to_out\.0": "attn.w1o",
        },
    ),
    r"^joint_transformer_blocks": (
        "double_layers",
        {
            r"ff_context": ("mlpC", GATED),
            r"ff": ("mlpX", GATED),
            r"norm1\.linear": "modX.1",
            r"norm1_context\.linear": "modC.1",
            r"attn\.to_([qkv])": r"attn.w2\1",
            r"attn\.to_out\.0": "attn.w2o",
            r"attn\.add_([qkv])_proj": r"attn.w1\1",
            r"attn\.to_add_out": "attn.w1o",
        },
    ),
}
MOCHI: Final[Rules] = {
    r"^patch_embed": "x_embedder",
    r"^time_embed\.timestep_embedder\.linear_1": "t_embedder.mlp.0",
    r"^time_embed\.timestep_embedder\.linear_2": "t_embedder.mlp.2",
    r"^time_embed\.pooler": "t5_y_embedder",
    r"^time_embed\.caption_proj": "t5_yproj",
    r"^norm_out\.linear": "final_layer.mod",
    r"^proj_out": "final_layer.linear",
    r"^transformer_blocks": "blocks",
    r"norm1\.linear": "mod_x",
    r"norm1_context\.linear(_1)?": "mod_y",
    r"attn1\.to_[qkv]": "attn.qkv_x",
    r"attn1\.add_[qkv]_proj": "attn.qkv_y",
    r"attn1\.norm_([qk])": r"attn.\1_norm_x",
    r"attn1\.norm_added_([qk])": r"attn.\1_norm_y",
    r"attn1\.to_out\.0": "attn.proj_x",
    r"attn1\.to_add_out": "attn.proj_y",
    r"ff\.net\.0\.proj": "mlp_x.w1",
    r"ff\.net\.2": "mlp_x.w2",
    r"ff_context\.net\.0\.proj": "mlp_y.w1",
    r"ff_context\.net\.2": "mlp_y.w2",
}
PERCEPTRON: Final = {r"linear_1": "mlp.0", r"linear_2": "mlp.2"}
HUNYUAN_VIDEO: Final[Rules] = {
    r"^context_embedder": (
        "txt_in",
        {
            r"time_text_embed\.timestep_embedder": ("t_embedder", PERCEPTRON),
            r"time_text_embed\.text_embedder": "c_embedder",
            r"proj_in": "input_embedder",
            r"token_refiner\.refiner_blocks": "individual_token_refiner.blocks",
            r"attn\.to_[qkv]": "self_attn_qkv",
            r"attn\.to_out\.0": "self_attn_proj",
            r"ff\.net\.0\.proj": "mlp.fc1",
            r"ff\.net\.2": "mlp.fc2",
            r"norm_out\.linear": "adaLN_modulation.1",
        },
    ),
    r"^x_embedder": "img_in",
    r"^time_text_embed\.timestep_embedder": ("time_in", PERCEPTRON),
    r"^time_text_embed\.guidance_embedder": ("guidance_in", PERCEPTRON),
    r"^time_text_embed\.text_embedder": ("vector_in", LAYERS),
    r"^transformer_blocks": (
        "double_blocks",
        {
            r"norm1\.linear": "img_mod.linear",
            r"norm1_context\.linear": "txt_mod.linear",
            r"attn\.to_[qkv]": "img_attn_qkv",
            r"attn\.add_[qkv]_proj": "txt_attn_qkv",
            r"attn\.norm_([qk])": r"img_attn_\1_norm",
            r"attn\.norm_added_([qk])": r"txt_attn_\1_norm",
            r"attn\.to_out\.0": "img_attn_proj",
            r"attn\.to_add_out": "txt_attn_proj",
            r"ff\.net\.0\.proj": "img_mlp.fc1",
            r"ff\.net\.2": "img_mlp.fc2",
            r"ff_context\.net\.0\.proj": "txt_mlp.fc1",
            r"ff_context\.net\.2": "txt_mlp.fc2",
        },
    ),
    r"^single_transformer_blocks": (
        "single_blocks",
        {
            r"attn\.to_[qkv]|proj_mlp": "linear1",
            r"attn\.norm_([qk])": r"\1_norm",
            r"norm\.linear": "modulation.linear",
            r"proj_out": "linear2",
        },
    ),
    r"^norm_out\.linear": "final_layer.adaLN_modulation.1",
    r"^proj_out": "final_layer.linear",
}
SANA: Final[Rules] = {
    r"^patch_embed": "x_embedder",
    r"^time_embed\.emb\.timestep_embedder\.linear_1": "t_embedder.mlp.0",
    r"^time_embed\.emb\.timestep_embedder\.linear_2": "t_embedder.mlp.2",
    r"^time_embed\.linear": "t_block.1",
    r"^caption_projection\.linear_(\d)": r"y_embedder.y_proj.fc\1",
    r"^caption_norm": "attention_y_norm",
    r"^scale_shift_table": "final_layer.scale_shift_table",
    r"^proj_out": "final_layer.linear",
    r"^transformer_blocks": "blocks",
    r"attn1\.to_[qkv]": "attn.qkv",
    r"attn1\.to_out\.0": "attn.proj",
    r"attn2\.to_q": "cross_attn.q_linear",
    r"attn2\.to_[kv]": "cross_attn.kv_linear",
    r"attn2\.to_out\.0": "cross_attn.proj",
    r"ff\.conv_(inverted|depth|point)": r"mlp.\1_conv.conv",
}
COSMOS_2: Final[Rules] = {
    r"^patch_embed\.proj": "x_embedder.proj.1",
    r"^time_embed\.t_embedder": "t_embedder.1",
    r"^time_embed\.norm": "t_embedding_norm",
    r"^learnable_pos_embed": "extra_pos_embedder",  # of Cosmos 1.0, whose files diffusers 0.42 takes for later ones
    r"^norm_out\.linear_(\d)": r"final_layer.adaln_modulation.\1",
    r"^proj_out": "final_layer.linear",
    r"^transformer_blocks": "blocks",
    r"attn1": "self_attn",
    r"attn2": "cross_attn",
    r"to_([qkv])\b": r"\1_proj",
    r"to_out\.0": "output_proj",
    r"norm_([qk])\b": r"\1_norm",
    r"ff\.net\.0\.proj": "mlp.layer1",
    r"ff\.net\.2": "mlp.layer2",
    r"norm1\.linear_(\d)": r"adaln_modulation_self_attn.\1",
    r"norm2\.linear_(\d)": r"adaln_modulation_cross_attn.\1",
    r"norm3\.linear_(\d)": r"adaln_modulation_mlp.\1",
}
KREA_BLOCK: Final[Rules] = {
    r"attn\.to_([qkv])\b": r"attn.w\1",
    r"attn\.to_out\.0": "attn.wo",
    r"attn\.to_gate": "attn.gate",
    r"attn\.norm_([qk])\.weight": r"attn.qknorm.\1norm.scale",
    r"\bff\b": "mlp",
    r"norm1\.weight": "prenorm.scale",
    r"norm2\.weight": "postnorm.scale",
    r"scale_shift_table": "mod.lin",
}
KREA_2: Final[Rules] = {
    r"^img_in": "first",
    r"^time_embed\.linear_1": "tmlp.0",
    r"^time_embed\.linear_2": "tmlp.2",
    r"^time_mod_proj": "tproj.1",
    r"^txt_in\.norm\.weight": "txtmlp.0.scale",
    r"^txt_in\.linear_1": "txtmlp.1",
    r"^txt_in\.linear_2": "txtmlp.3",
    r"^text_fusion": ("txtfusion", KREA_BLOCK),
    r"^transformer_blocks": ("blocks", KREA_BLOCK),
    r"^final_layer\.linear": "last.linear",
    r"^final_layer\.norm\.weight": "last.norm.scale",
    r"^final_layer\.scale_shift_table": "last.modulation.lin",
}
MINIMAX_H3: Final[Rules] = {
    r"^token_refiner\.refiner_blocks": "token_refiner.blocks",
    r"^transformer_blocks": "blocks",
    r"^time_embedder\.linear_1": "time_embedder.proj_in",
    r"^time_embedder\.linear_2": "time_embedder.proj_out",
    r"^proj_in": "video_patch_proj",
    r"^audio_proj_in": "audio_patch_proj",
    r"^context_embedder": "condition_proj",
    r"^norm_out\.norm": "final_layer.norm",
    r"^norm_out\.linear": "final_layer.adaln_proj.linear",
    r"^proj_out": "final_layer.video_out",
    r"^audio_proj_out": "final_layer.audio_out",
    r"attn\.to_[qkv]": "attn.qkv_proj",
    r"attn\.norm_([qk])": r"attn.\1_norm",
    r"attn\.to_out\.0": "attn.out_proj",
    r"ff\.net\.0\.proj": "mlp.fc1",
    r"ff\.net\.2": "mlp.fc2",
}
DEEP_COMPRESSION: Final[Rules] = {
    r"^encoder\.conv_in\b": "encoder.project_in.conv",
    r"^encoder\.conv_out": "encoder.project_out.op_list.0.conv",
    r"^decoder\.conv_in": "decoder.project_in.main.conv",
    r"^decoder\.norm_out": "decoder.project_out.op_list.0",
    r"^decoder\.conv_out": "decoder.project_out.op_list.2.conv",
    r"^(encoder|decoder)\.(down|up)_blocks\.(\d+)\.": (
        r"\1.stages.\3.op_list.",
        {
            r"\.attn\.to_[qkv]\.": ".context_module.main.qkv.conv.",
            r"\.attn\.to_qkv_multiscale\.0\.proj_in": ".context_module.main.aggreg.0.0",
            r"\.attn\.to_qkv_multiscale\.0\.proj_out": ".context_module.main.aggreg.0.1",
            r"\.attn\.to_out": ".context_module.main.proj.conv",
            r"\.attn\.norm_out": ".context_module.main.proj.norm",
            r"\.conv_out\.conv_(inverted|depth|point)": r".local_module.main.\1_conv.conv",
            r"\.conv_out\.norm": ".local_module.main.point_conv.norm",
            r"\.conv([12])\b": r".main.conv\1.conv",
            r"\.norm": ".main.conv2.norm",
            r"\.conv\b": ".main.conv.conv",
        },
    ),
}
SHUFFLED: Final[Rules] = {
    **DEEP_COMPRESSION,
    r"^encoder\.conv_in\b": "encoder.project_in.conv",
    r"^decoder\.conv_out\.conv": "decoder.project_out.op_list.2.conv.conv",
}
CASCADE: Final[Rules] = {
    r"attention\.to_[qkv]\.(weight|bias)": r"attention.attn.in_proj_\1",
    r"attention\.to_out\.0": "attention.attn.out_proj",
}
ANIMATEDIFF: Final[Rules] = {
    r"motion_modules\.(\d+)": (
        r"motion_modules.\1.temporal_transformer",
        {
            r"\.norm1": ".norms.0",
            r"\.norm2": ".norms.1",
            r"\.norm3": ".ff_norm",
            r"\.attn1": ".attention_blocks.0",
            r"\.attn2": ".attention_blocks.1",
            r"\.pos_embed": ".attention_blocks.0.pos_encoder",
        },
    )
}
RESNET: Final = {
    r"norm1": "in_layers.0",
    r"conv1": "in_layers.2",
    r"norm2": "out_layers.0",
    r"conv2": "out_layers.3",
    r"time_emb_proj": "emb_layers.1",
    r"conv_shortcut": "skip_connection",
}


def latent_diffusion(config: Mapping[str, Any]) -> Rules:
    """Return the rules of a denoiser of Stable Diffusion 1 to XL, or of a ControlNet of one: blocks are numbered."""
    layers = config["layers_per_block"]
    rules: dict[str, str | tuple[str, Rules]] = {
        r"^time_embedding\.linear_1": "time_embed.0",
        r"^time_embedding\.linear_2": "time_embed.2",
        r"^(add|class)_embedding\.linear_1": "label_emb.0.0",
        r"^(add|class)_embedding\.linear_2": "label_emb.0.2",
        r"^class_embedding\.weight": "label_emb.weight",
        r"^conv_in": "input_blocks.0.0",
        r"^conv_norm_out": "out.0",
        r"^conv_out": "out.2",
        r"^mid_block\.resnets\.0": ("middle_block.0", RESNET),
        r"^mid_block\.attentions\.0": ("middle_block.1", {}),
        r"^mid_block\.resnets\.1": ("middle_block.2", RESNET),
        r"^controlnet_down_blocks\.(\d+)": r"zero_convs.\1.0",
        r"^controlnet_mid_block": "middle_block_out.0",
        r"^controlnet_cond_embedding\.conv_in": "input_hint_block.0",
        r"^controlnet_cond_embedding\.conv_out": "input_hint_block.14",
        **{rf"^controlnet_cond_embedding\.blocks\.{n}\.": f"input_hint_block.{2 * n + 2}." for n in range(6)},
    }
    for block in range(len(config["down_block_types"])):
        first = 1 + block * (layers + 1)
        rules[rf"^down_blocks\.{block}\.downsamplers\.0\.conv"] = f"input_blocks.{first + layers}.0.op"
        for layer in range(layers):
            rules[rf"^down_blocks\.{block}\.resnets\.{layer}\."] = (f"input_blocks.{first + layer}.0.", RESNET)
            rules[rf"^down_blocks\.{block}\.attentions\.{layer}\."] = (f"input_blocks.{first + layer}.1.", {})
    for block, kind in enumerate(config.get("up_block_types", ())):
        first, place = block * (layers + 1), 2 if "Attn" in kind else 1
        rules[rf"^up_blocks\.{block}\.upsamplers\.0"] = f"output_blocks.{first + layers}.{place}"
        for layer in range(layers + 1):
            rules[rf"^up_blocks\.{block}\.resnets\.{layer}\."] = (f"output_blocks.{first + layer}.0.", RESNET)
            rules[rf"^up_blocks\.{block}\.attentions\.{layer}\."] = (f"output_blocks.{first + layer}.1.", {})
    return rules


def latent_autoencoder(config: Mapping[str, Any]) -> Rules:
    """Return the rules of an autoencoder of Stable Diffusion, which numbers what goes up from the other end."""
    last = len(config["up_block_types"]) - 1
    return {
        r"^encoder\.down_blocks\.(\d+)\.resnets": r"encoder.down.\1.block",
        r"^encoder\.down_blocks\.(\d+)\.downsamplers\.0": r"encoder.down.\1.downsample",
        **{rf"^decoder\.up_blocks\.{n}\.resnets": f"decoder.up.{last - n}.block" for n in range(last + 1)},
        **{rf"^decoder\.up_blocks\.{n}\.upsamplers\.0": f"decoder.up.{last - n}.upsample" for n in range(last + 1)},
        r"mid_block\.resnets\.0": "mid.block_1",
        r"mid_block\.resnets\.1": "mid.block_2",
        r"mid_block\.attentions\.0": (
            "mid.attn_1",
            {r"group_norm": "norm", r"to_([qkv])\b": r"\1", r"to_out\.0": "proj_out"},
        ),
        r"conv_shortcut": "nin_shortcut",
        r"conv_norm_out": "norm_out",
    }


SAME: Final = (Spelling(),)
WAN_FILES: Final = (Spelling(WAN, {r"net_app\.convs\..*\.bias": per_channel}),)
SPELLINGS: Final[Mapping[str, tuple[Spelling, ...]]] = {
    "AuraFlowTransformer2DModel": (Spelling(AURAFLOW),),
    "AutoencoderDC": tuple(
        Spelling(rules, {r"\.(qkv|proj)\.conv\.weight": pointwise}) for rules in (DEEP_COMPRESSION, SHUFFLED)
    ),
    "AutoencoderKL": (Spelling(latent_autoencoder, {r"attn_1\.(q|k|v|proj_out)\.weight": pointwise}),),
    "AutoencoderKLLTX2Video": (Spelling({**LTX_VAE, **LTX_ENCODER, **LTX_DECODER}, prefix="vae."),),
    "AutoencoderKLLTXVideo": tuple(  # 0.9.0, 0.9.1, 0.9.5
        Spelling({**LTX_1_VAE, **encoder, **decoder}, prefix="vae.")
        for encoder, decoder in (
            (LTX_090_ENCODER, LTX_090_DECODER),
            (LTX_090_ENCODER, LTX_DECODER),
            (LTX_ENCODER, LTX_DECODER),
        )
    ),
    "AutoencoderKLWan": (Spelling(WAN_VAE),),
    "ChromaTransformer2DModel": (Spelling(FLUX),),
    "ChronoEditTransformer3DModel": WAN_FILES,
    "ControlNetModel": (Spelling(latent_diffusion, prefix="control_model."),),
    "CosmosTransformer3DModel": (Spelling(COSMOS_2, prefix="net."),),
    "ErnieImageTransformer2DModel": SAME,
    "Flux2Transformer2DModel": (Spelling(FLUX),),
    "Flux3Transformer2DModel": (Spelling(FLUX_3),),
    "FluxTransformer2DModel": (Spelling(FLUX),),
    "HiDreamImageTransformer2DModel": SAME,
    "HunyuanVideoTransformer3DModel": (Spelling(HUNYUAN_VIDEO),),
    "Krea2Transformer2DModel": (Spelling(KREA_2, {r"^blocks\..*\.mod\.lin": flat}),),
    "LTX2VideoTransformer3DModel": (Spelling(LTX),),
    "LTXVideoTransformer3DModel": (Spelling(LTX),),
    "Lumina2Transformer2DModel": (Spelling(LUMINA_2),),
    "MiniMaxH3Transformer3DModel": (Spelling(MINIMAX_H3),),
    "MochiTransformer3DModel": (Spelling(MOCHI),),
    "MotifVideoTransformer3DModel": SAME,
    "MotionAdapter": (Spelling(ANIMATEDIFF),),
    "QwenImage21Transformer2DModel": (Spelling(QWEN_IMAGE_21),),
    "QwenImageTransformer2DModel": SAME,
    "SD3Transformer2DModel": (Spelling(SD_3),),
    "SanaTransformer2DModel": (Spelling(SANA),),
    "SkyReelsV2Transformer3DModel": WAN_FILES,
    "SparseControlNetModel": (Spelling(ANIMATEDIFF),),
    "StableCascadeUNet": (Spelling(CASCADE), Spelling({**CASCADE, r"clip_txt_pooled_mapper": "clip_mapper"})),
    "UNet2DConditionModel": (Spelling(latent_diffusion, prefix="model.diffusion_model."),),
    "WanAnimate2Transformer3DModel": (Spelling(WAN_ANIMATE_2),),
    "WanAnimateTransformer3DModel": WAN_FILES,
    "WanTransformer3DModel": WAN_FILES,
    "WanVACETransformer3DModel": WAN_FILES,
    "ZImageControlNetModel": SAME,
    "ZImageTransformer2DModel": (Spelling(Z_IMAGE),),
}
