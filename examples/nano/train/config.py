"""The two nano configurations, under the names of the official config.json (spec 1.2).

`small` is for CPU cores, `full` for a GPU and a file below 25 MB.  Both hold every kind of
layer: two window layers with hash routing, then CSA (ratio 4) and HCA (ratio 128) in turn,
and one MTP block.  Widths are multiples of 128, because native mode quantises activations
in blocks of 128, and head_dim - qk_rope_head_dim is a multiple of 64 (KV rows, spec 2.4).
"""
from dataclasses import dataclass

WINDOW = 128
ROPE_SCALING = {"beta_fast": 32, "beta_slow": 1, "factor": 16,
                "original_max_position_embeddings": 65536, "type": "yarn"}


@dataclass(frozen=True)
class Config:
    """Sizes; what they share with the real family is in hf()."""
    vocab_size: int = 8192
    hidden_size: int = 256
    compress_ratios: tuple[int, ...] = (0, 0, 4, 128, 4, 128, 4, 0)  # the last one is the MTP block
    num_hash_layers: int = 2
    num_attention_heads: int = 8
    head_dim: int = 128
    qk_rope_head_dim: int = 64
    q_lora_rank: int = 256
    o_groups: int = 4
    o_lora_rank: int = 128
    index_n_heads: int = 4
    index_head_dim: int = 128
    index_topk: int = 64
    n_routed_experts: int = 12
    num_experts_per_tok: int = 3
    moe_intermediate_size: int = 128
    hc_mult: int = 4
    hc_sinkhorn_iters: int = 20
    hc_eps: float = 1e-6
    rms_norm_eps: float = 1e-6
    routed_scaling_factor: float = 1.5
    swiglu_limit: float = 10.0
    rope_theta: float = 10000.0
    compress_rope_theta: float = 160000.0
    sliding_window: int = WINDOW

    @property
    def num_hidden_layers(self) -> int:
        return len(self.compress_ratios) - 1

    def hf(self) -> dict:
        """config.json of the official layout."""
        own = {k: getattr(self, k) for k in self.__dataclass_fields__}
        own["compress_ratios"] = list(self.compress_ratios)
        return {
            "architectures": ["DeepseekV4ForCausalLM"], "model_type": "deepseek_v4",
            "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 0, "eos_token_id": 1,
            "expert_dtype": "fp4", "hidden_act": "silu", "initializer_range": 0.02,
            "max_position_embeddings": 1048576, "n_shared_experts": 1, "norm_topk_prob": True,
            "num_hidden_layers": self.num_hidden_layers, "num_key_value_heads": 1,
            "num_nextn_predict_layers": 1, "rope_scaling": dict(ROPE_SCALING),
            "scoring_func": "sqrtsoftplus", "tie_word_embeddings": False, "topk_method": "noaux_tc",
            "torch_dtype": "bfloat16", "transformers_version": "4.57.1", "use_cache": True,
            "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3",
                                    "quant_method": "fp8", "scale_fmt": "ue8m0",
                                    "weight_block_size": [128, 128]}, **own}


CONFIGS = {
    "small": Config(hidden_size=128, compress_ratios=(0, 0, 4, 128, 0), num_attention_heads=4,
                    q_lora_rank=128, o_groups=2, index_topk=64,
                    n_routed_experts=4, num_experts_per_tok=2),
    "full": Config(),
}
