"""The smallest sizes of every family of causal language models, as data for `families`."""

LAYERS = 6
TOWER_LAYERS = 2

# Field of a configuration class -> tiny value. A class takes those of its own fields.
TINY = {
    # tokens and positions
    **dict.fromkeys(
        (
            "vocab_size",
            "vocab_size_per_layer_input",
            "decoder_vocab_size",
            "audio_vocab_size",
            "unpadded_vocab_size",
            "pronunciation_vocab_size",
            "shape_vocab_size",
        ),
        320,
    ),
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
    "decoder_start_token_id": 0,
    "forced_eos_token_id": None,
    **dict.fromkeys(
        (
            "max_position_embeddings",
            "n_positions",
            "n_ctx",
            "max_seq_len",
            "max_target_positions",
            "max_source_positions",
            "context_length",
            "original_max_position_embeddings",
        ),
        128,
    ),
    # width
    **dict.fromkeys(
        (
            "hidden_size",
            "d_model",
            "n_embd",
            "emb_dim",
            "embed_dim",
            "embedding_size",
            "word_embed_proj_dim",
            "lru_width",
            "out_hidden_size",
            "output_proj_dims",
            "adapter_in_dim",
            "adapter_out_dim",
            "vision_output_dim",
            "mm_embed_dim",
            "audio_embed_dim",
            "projector_input_dim",
            "projector_output_dim",
            "backbone_hidden_size",
        ),
        32,
    ),
    **dict.fromkeys(
        (
            "ffn_dim",
            "encoder_ffn_dim",
            "decoder_ffn_dim",
            "ffn_hidden_size",
            "expert_ffn_hidden_size",
            "intermediate_size_mlp",
            "feed_forward_size",
            "dim_ff",
            "dff",
            "d_inner",
            "mlp_dim",
            "n_inner",
        ),
        64,
    ),
    # depth
    **dict.fromkeys(
        (
            "num_hidden_layers",
            "n_layer",
            "n_layers",
            "num_layers",
            "decoder_layers",
            "num_decoder_layers",
            "encoder_layers",  # the caches of decoder halves count these
            "num_encoder_layers",
        ),
        LAYERS,
    ),
    "depth": TOWER_LAYERS,
    # attention
    **dict.fromkeys(
        (
            "num_attention_heads",
            "n_head",
            "n_heads",
            "num_heads",
            "attention_heads",
            "encoder_attention_heads",
            "decoder_attention_heads",
            "num_encoder_attention_heads",
            "num_decoder_attention_heads",
            "swa_num_attention_heads",
        ),
        4,
    ),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "swa_num_key_value_heads"), 2),
    **dict.fromkeys(
        (
            "head_dim",
            "swa_head_dim",
            "dim_head",
            "d_head",
            "kv_channels",
            "attention_head_size",
            "qk_rope_head_dim",
            "qk_nope_head_dim",
            "v_head_dim",
            "query_pre_attn_scalar",
        ),
        8,
    ),
    "rotary_dim": 4,
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank", "o_lora_rank", "gated_norm_rank"), 16),
    "index_n_heads": 16,  # few heads often score several tokens zero, and a tie falls either way
    "index_head_dim": 16,
    "index_topk": 8,
    **dict.fromkeys(
        (
            "sliding_window",
            "sliding_window_size",
            "attention_window_size",
            "window_size",
            "local_attention",
            "attention_chunk_size",
        ),
        16,
    ),
    # experts
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(
        (
            "num_experts_per_tok",
            "moe_topk",
            "moe_top_k",
            "moe_k",
            "top_k_experts",
        ),
        2,
    ),
    **dict.fromkeys(
        (
            "n_group",
            "topk_group",
            "n_shared_experts",
            "num_shared_experts",
            "moe_num_shared_experts",
            "first_k_dense_replace",
            "num_dense_layers",
        ),
        1,
    ),
    # state spaces, linear attention, convolutions
    **dict.fromkeys(("mamba_d_state", "ssm_state_size", "state_size"), 4),
    **dict.fromkeys(("mamba_n_heads", "mamba_num_heads", "mamba_d_head", "mamba_head_dim"), 8),
    **dict.fromkeys(("mamba_n_groups", "n_groups", "mamba_ngroups"), 1),
    "mamba_d_ssm": 64,
    **dict.fromkeys(("mamba_chunk_size", "chunk_size", "block_size"), 8),
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_num_heads": 4,
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim", "linear_head_dim"), 8),
    # images and sound
    "image_size": 32,
    "patch_size": 8,
    "num_mel_bins": 16,
    # encoder families as decoders
    "is_decoder": True,
}

# Field that marks a class -> settings that go with it.
WITH = {
    "kv_lora_rank": {"num_key_value_heads": 4},
}

FULL, SLIDING, LINEAR, CONV = "full_attention", "sliding_attention", "linear_attention", "conv"
ONE_FULL_IN_THREE = [SLIDING, SLIDING, FULL] * 2
DENSE_THEN_SPARSE = ["dense"] * 2 + ["sparse"] * 4
ROPE = {"rope_type": "default", "rope_theta": 10_000.0}
GEMMA4_TEXT = {"hidden_size_per_layer_input": 8, "global_head_dim": 16}
GEMMA4_SHARING = {**GEMMA4_TEXT, "layer_types": [SLIDING, FULL] * 3, "num_kv_shared_layers": 2}
GEMMA4_TOWERS = {
    "vision_config": {"position_embedding_size": 64},
    "audio_config": {"subsampling_conv_channels": [8, 8]},
}
DOTS3_TEXT = {
    "swa_num_attention_heads": 4,
    "swa_num_key_value_heads": 4,
    "swa_q_lora_rank": 16,
    "swa_kv_lora_rank": 16,
    "swa_head_dim": 16,
    "swa_qk_nope_head_dim": 8,
    "swa_v_head_dim": 8,
}
QWEN4_TEXT = {
    "num_hidden_layers": 8,
    "hc_lowrank": 8,
    "ple_layer_ids": [2, 5],
    "heads_per_ngram": 2,
    "ngram_vocab_size_base": 64,
    "make_ngram_vocab_size_divisible_by": 8,
    "split_ngram_parts": 1,
    "indexer_n_heads": 2,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 8,
    "indexer_budget": 8,
    "indexer_compress_ratio": 2,
}
BLT_PART = {"vocab_size": 320, "hidden_size": 32, "hidden_size_global": 32, "num_hidden_layers": 2}

# Linear attention with one full in four: two of them, so that a cut can take one.
EIGHT = {"num_hidden_layers": 8}
QWEN35 = {"text_config": EIGHT}

# Model type -> what the general rule does not give; nested like the configuration.
OVERRIDES = {
    "bamba": {"attn_layer_indices": [2, 5]},
    "blt": {
        "encoder_hash_byte_group_vocab": 64,
        "num_hidden_layers": 6,
        "encoder_config": BLT_PART,
        "decoder_config": BLT_PART,
        "patcher_config": {"num_hidden_layers": 2},
        "global_config": {"num_hidden_layers": 6},
    },
    "cohere2_moe": {"first_k_dense_replace": 1, "prefix_dense_intermediate_size": 64},
    "cohere_compass_text": {
        "layer_types": [SLIDING, SLIDING, SLIDING, FULL, SLIDING, FULL],
        "rope_parameters": {SLIDING: ROPE, FULL: ROPE},
    },
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 10_000.0, "clip_qkv": 8},
        "ffn_config": {"hidden_size": 32, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "dots3_note": {
        "text_config": DOTS3_TEXT,
        "vision_config": {"mlp_layer_types": ["dense", "sparse"]},
        "audio_config": {"adapter_input_size": 32, "downsample_hidden_size": 8},
    },
    "dots3_note_text": DOTS3_TEXT,
    "dory": {"n_input_layers": 2, "n_output_layers": 2},  # the two between them run twice
    "gemma3n_text": {
        "layer_types": [SLIDING, FULL] * 3,
        "num_kv_shared_layers": 2,
        "hidden_size_per_layer_input": 8,
        "laurel_rank": 8,
        "activation_sparsity_pattern": [0.95, 0.95, 0.0, 0.0, 0.0, 0.0],
    },
    "gemma4": {"text_config": GEMMA4_SHARING, **GEMMA4_TOWERS},
    "gemma4_text": {**GEMMA4_TEXT, "enable_moe_block": True},
    "gemma4_unified": {
        "text_config": {"global_head_dim": 16},
        "vision_config": {"mm_posemb_size": 16},
    },
    "gemma4_unified_text": {"global_head_dim": 16},
    "glm_moe_dsa": {"index_topk_freq": 2},
    "got_ocr2": {"vision_config": {"output_channels": 8}},
    "gpt_neo": {"attention_types": [[["global", "local"], 3]]},
    "granitemoehybrid": {"layer_types": [LINEAR, LINEAR, FULL] * 2},
    "inkling2_loop_text": {
        "n_layers_per_attn_res_block": 2,
        "loop_layer_index_start": 2,
        "loop_layer_index_end": 4,
    },
    "inkling2_text": {"n_layers_per_attn_res_block": 2},
    "inkling_text": {"dense_mlp_idx": 2},
    "laguna": {
        "layer_types": [FULL, SLIDING, SLIDING, SLIDING, FULL, SLIDING],
        "num_attention_heads_per_layer": [4, 8, 8, 8, 4, 8],
    },
    "kimi_linear": {**EIGHT, "layer_types": ([LINEAR] * 3 + [FULL]) * 2},
    "lara_mini": {"layer_types": [LINEAR, SLIDING, LINEAR, FULL, SLIDING] * 2, "num_hidden_layers": 10},
    "lfm2": {"full_attn_idxs": [2, 5]},
    "lfm2_moe": {"layer_types": [CONV, CONV, FULL] * 2, "num_dense_layers": 2},
    "llama4": {"text_config": {"interleave_moe_layer_step": 2}},
    "longcat_flash": {"zero_expert_num": 2},
    "mamba2": {"num_heads": 8},
    "mellum": {"layer_types": ONE_FULL_IN_THREE},
    "minimax_m3_vl_text": {
        "layer_types": [FULL] * 2 + ["minimax_m3_sparse"] * 4,
        "mlp_layer_types": DENSE_THEN_SPARSE,
        "index_n_heads": 2,
        "index_block_size": 4,
        "index_topk_blocks": 2,
    },
    "ministral": {"layer_types": [FULL, SLIDING, SLIDING] * 2},
    "nemotron_h": {"layers_block_type": [LINEAR, "moe", LINEAR, FULL, "mlp", LINEAR, "moe", FULL]},
    "phi4_multimodal": {
        "audio_config": {
            "num_blocks": 2,
            "ext_pw_out_channel": 32,
            "depthwise_separable_out_channel": 32,
            "nemo_conv_channels": 32,
        }
    },
    "qwen2_moe": {"mlp_only_layers": [0, 3]},
    "olmo_hybrid": EIGHT,
    **dict.fromkeys(("qwen3_5", "qwen3_5_moe"), QWEN35),
    **dict.fromkeys(("qwen3_5_text", "qwen3_5_moe_text", "qwen3_next"), EIGHT),
    "qwen4_exp": {"text_config": QWEN4_TEXT},
    "qwen4_exp_text": QWEN4_TEXT,
    "mllama": {
        "text_config": {"cross_attention_layers": [1, 4]},
        "vision_config": {"num_global_layers": 1, "intermediate_layers_indices": [0, 1], "image_size": 16},
    },
    "prophetnet": {"pad_token_id": 0},  # its cached positions count from there
    "reformer": {
        "axial_pos_shape": [8, 16],
        "axial_pos_embds_dim": [8, 24],
        "hash_seed": 0,
    },
    "rembert": {"input_embedding_size": 16, "output_embedding_size": 48},
    "roc_bert": {"pronunciation_embed_dim": 16, "shape_embed_dim": 16},
    "rwkv": {"rescale_every": 2},
    "xlstm": {"chunk_size": 64, "hidden_size": 64, "qk_dim_factor": 1.0},
    "xmod": {"default_language": "en_XX"},
    "youtu": {"pad_token_id": None},  # loading zeroes the row of the padding token
    "zamba": {"layers_block_type": [LINEAR, LINEAR, "hybrid"] * 3, "num_hidden_layers": 9},
    "zamba2": {
        "layers_block_type": [LINEAR, "hybrid", "hybrid"] * 2,
        "num_mem_blocks": 2,
        "adapter_rank": 8,
    },
    "zaya": {
        "num_experts_per_tok": 1,
        "layer_types": ["hybrid", "hybrid_sliding", "hybrid_sliding"] * 2,
        "router_hidden_size": 16,
    },
}

# Saved with all their parts, as on the Hub; AutoModelForCausalLM reads only the text part of these.
WITH_TOWERS = ("dots3_note", "llama4", "mllama", "qwen3_5", "qwen3_5_moe", "qwen4_exp")

CANNOT_BUILD = {
    "emu3": "saves the text part as emu3_text_model, which AutoModelForCausalLM does not know",
    "gemma3n": "its image tower needs timm",
    "gemma4_assistant": "all its layers share keys and values, which kv_sharing_modes refuses",
    "gemma4_unified_assistant": "all its layers share keys and values, which kv_sharing_modes refuses",
    "musicgen": "AutoModelForCausalLM hands the decoder the configuration of the whole",
    "musicgen_melody": "AutoModelForCausalLM hands the decoder the configuration of the whole",
}
