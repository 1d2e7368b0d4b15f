import numpy as np
import pytest

from edgellm.errors import BundleInvalid, UnsupportedModel
from edgellm.export.gguf_file import GgufFile
from edgellm.export.gguf_model import GgufWeights, read_config

HIDDEN, HEADS, KV_HEADS, FFN, VOCAB = 32, 4, 2, 64, 40  # as the fixture's metadata says
KV = HIDDEN // HEADS * KV_HEADS

# Hugging Face name, GGUF name, shape, heads whose rows llama.cpp's converter interleaves.
LAYER = [
    ("input_layernorm", "attn_norm", (HIDDEN,), None),
    ("self_attn.q_proj", "attn_q", (HIDDEN, HIDDEN), HEADS),
    ("self_attn.k_proj", "attn_k", (KV, HIDDEN), KV_HEADS),
    ("self_attn.v_proj", "attn_v", (KV, HIDDEN), None),
    ("self_attn.o_proj", "attn_output", (HIDDEN, HIDDEN), None),
    ("post_attention_layernorm", "ffn_norm", (HIDDEN,), None),
    ("mlp.gate_proj", "ffn_gate", (FFN, HIDDEN), None),
    ("mlp.up_proj", "ffn_up", (FFN, HIDDEN), None),
    ("mlp.down_proj", "ffn_down", (HIDDEN, FFN), None),
]
BIASES = [
    ("self_attn.q_proj", "attn_q", (HIDDEN,), HEADS),
    ("self_attn.k_proj", "attn_k", (KV,), KV_HEADS),
    ("self_attn.v_proj", "attn_v", (KV,), None),
]


def model(*, permuted: bool, biased: bool = False, tied: bool = True):
    """Return random weights under Hugging Face names, and the same as a GGUF file stores them."""
    rng = np.random.default_rng(2)
    hf, stored = {}, {}

    def put(hf_name, gguf_name, shape, heads=None):
        values = rng.standard_normal(shape).astype(np.float32)
        hf[hf_name] = values
        if heads and permuted:
            values = values.reshape(heads, 2, shape[0] // heads // 2, *shape[1:])
            values = values.swapaxes(1, 2).reshape(shape)
        stored[gguf_name] = values

    put("model.embed_tokens.weight", "token_embd.weight", (VOCAB, HIDDEN))
    put("model.norm.weight", "output_norm.weight", (HIDDEN,))
    if not tied:
        put("lm_head.weight", "output.weight", (VOCAB, HIDDEN))
    for layer in range(2):
        for kind, rows in (("weight", LAYER), ("bias", BIASES if biased else [])):
            for name, gguf_name, shape, heads in rows:
                hf_name = f"model.layers.{layer}.{name}.{kind}"
                put(hf_name, f"blk.{layer}.{gguf_name}.{kind}", shape, heads)
    return hf, stored


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("llama", {"permuted": True}),
        ("llama", {"permuted": True, "biased": True, "tied": False}),
        ("qwen2", {"permuted": False, "biased": True, "tied": False}),
    ],
)
def test_weights_come_back_under_their_names_and_in_their_rows(write_gguf, family, options):
    hf, stored = model(**options)
    weights = GgufWeights(GgufFile(write_gguf(stored, family=family)))

    assert set(weights.names()) == set(hf)
    for name, values in hf.items():
        assert weights.shape(name) == values.shape
        assert weights.stored_as(name) == "F32"
        np.testing.assert_array_equal(weights.read(name), values, err_msg=name)
        assert weights.read(name).flags.c_contiguous


def test_the_configuration_is_in_hugging_face_terms(write_gguf):
    _, stored = model(permuted=False, biased=True, tied=False)
    config = read_config(GgufFile(write_gguf(stored, family="qwen2")))

    assert config == {
        "model_type": "qwen2",
        "architectures": ["Qwen2ForCausalLM"],
        "num_hidden_layers": 2,
        "max_position_embeddings": 128,
        "hidden_size": HIDDEN,
        "intermediate_size": FFN,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": 8,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1e6,
        "rope_scaling": None,
        "vocab_size": VOCAB,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
    }


def test_a_model_without_an_output_tensor_is_tied(write_gguf, embedding):
    assert read_config(GgufFile(write_gguf(embedding)))["tie_word_embeddings"] is True


def test_the_files_head_width_wins_over_the_hidden_size(write_gguf, embedding):
    metadata = {"llama.attention.key_length": 16, "llama.rope.dimension_count": 16}

    assert read_config(GgufFile(write_gguf(embedding, metadata)))["head_dim"] == 16


def test_llama_3_rotary_factors_are_turned_into_their_rule(write_gguf, embedding):
    rule = {
        "rope_type": "llama3",
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    # As llama.cpp's converter computes them: theta 500000, heads 16 wide.
    factors = np.array([1, 1, 1, 1, 3.2922621, 32, 32, 32], np.float32)
    metadata = {"llama.rope.freq_base": 500000.0, "llama.attention.key_length": 16}
    file = GgufFile(write_gguf({**embedding, "rope_freqs.weight": factors}, metadata))

    assert read_config(file)["rope_scaling"] == rule
    assert "rope_freqs" not in " ".join(GgufWeights(file).names())


def test_rotary_factors_of_another_rule_are_refused(write_gguf, embedding):
    factors = np.array([1, 2, 3, 4], np.float32)
    file = GgufFile(write_gguf({**embedding, "rope_freqs.weight": factors}))

    with pytest.raises(UnsupportedModel, match=r"rope_freqs.weight"):
        read_config(file)


def test_linear_and_yarn_scaling_are_kept_and_others_named(write_gguf, embedding):
    def scaling(kind):
        metadata = {
            "llama.rope.scaling.type": kind,
            "llama.rope.scaling.factor": 4.0,
            "llama.rope.scaling.original_context_length": 32,
        }
        return read_config(GgufFile(write_gguf(embedding, metadata)))["rope_scaling"]

    assert scaling("linear") == {"rope_type": "linear", "factor": 4.0}
    assert scaling("yarn") == {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 32,
    }
    with pytest.raises(UnsupportedModel, match="longrope"):
        scaling("longrope")


def test_another_architecture_is_named_with_those_that_are_known(write_gguf, embedding):
    with pytest.raises(UnsupportedModel, match=r"'mamba'; edgellm reads llama, qwen2 from GGUF"):
        read_config(GgufFile(write_gguf(embedding, family="mamba")))


def test_a_tensor_that_the_family_does_not_have_is_named(write_gguf, embedding):
    experts = {"blk.0.ffn_gate_inp.weight": np.zeros((4, HIDDEN), np.float32)}

    with pytest.raises(UnsupportedModel, match=r"blk.0.ffn_gate_inp.weight"):
        GgufWeights(GgufFile(write_gguf(embedding | experts)))


def test_heads_that_rotate_in_part_are_refused(write_gguf, embedding):
    with pytest.raises(UnsupportedModel, match="only a part of each head"):
        read_config(GgufFile(write_gguf(embedding, {"llama.rope.dimension_count": 4})))


@pytest.mark.parametrize("value", [None, 0, "many"])
def test_metadata_that_is_missing_or_absurd_is_named(write_gguf, embedding, value):
    file = GgufFile(write_gguf(embedding, {"llama.block_count": value}))

    with pytest.raises(BundleInvalid, match=r"llama.block_count as (None|0|'many')"):
        read_config(file)


def test_a_vocabulary_without_weights_is_no_model(write_gguf):
    with pytest.raises(BundleInvalid, match=r"no token_embd.weight"):
        read_config(GgufFile(write_gguf({})))


def test_rows_that_do_not_divide_into_heads_are_damage(write_gguf, embedding):
    wrong = {"blk.0.attn_q.weight": np.zeros((30, HIDDEN), np.float32)}
    weights = GgufWeights(GgufFile(write_gguf(embedding | wrong)))

    with pytest.raises(BundleInvalid, match=r"30 rows in blk.0.attn_q.weight for 4 heads"):
        weights.read("model.layers.0.self_attn.q_proj.weight")
