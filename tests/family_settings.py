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
        ),
        LAYERS,
    ),
    **dict.fromkeys(("encoder_layers", "num_encoder_layers", "depth"), TOWER_LAYERS),
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
    "index_n_heads": 2,
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
    **dict.fromkeys(
        ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4
    ),
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

# Model type -> what the general rule does not give; nested like the configuration.
OVERRIDES = {
}
