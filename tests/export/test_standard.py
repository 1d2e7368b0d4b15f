import dataclasses

import numpy as np
import pytest

from edgellm.errors import UnsupportedModel
from edgellm.export.source import Source, open_source
from edgellm.export.standard import export_standard
from edgellm.records.manifest import KVLayout


def test_a_gguf_source_of_another_family_is_refused(tmp_path):
    source = Source("tiny", {"model_type": "mamba"}, None, "", None, (), None, None, {}, None)

    with pytest.raises(UnsupportedModel, match=r"'mamba', which edgellm exports from a Hugging"):
        export_standard(source, tmp_path)


@pytest.fixture
def gpt2(folder):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes = {"vocab_size": 256, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4}
    model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)).eval()
    model.save_pretrained(folder)
    return model


@pytest.mark.torch
def test_a_decoder_outside_the_table_runs_as_pytorch_does(gpt2, folder, tmp_path):
    import onnxruntime
    import torch

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    facts = export_standard(open_source(str(folder)), scratch)

    assert sorted(path.name for path in scratch.iterdir()) == ["model.onnx", "model.onnx.data"]
    assert facts.route == "standard"
    assert facts.architecture == "gpt2"
    assert (facts.vocab_size, facts.hidden_size) == (256, 32)
    assert facts.kv == KVLayout(2, 4, 8, "float32", 64)

    session = onnxruntime.InferenceSession(scratch / "model.onnx")
    ids = np.array([[5, 6, 7, 8]])
    feeds = {name: np.zeros((1, 4, 0, 8), np.float32) for name in caches(session)}
    feeds |= {"input_ids": ids, "attention_mask": np.ones((1, 4), np.int64)}
    feeds["position_ids"] = np.arange(4)[None]
    outputs = session.run(None, feeds)
    with torch.no_grad():
        expected = gpt2(torch.from_numpy(ids)).logits.numpy()
    np.testing.assert_allclose(outputs[0], expected, atol=1e-4)


def caches(session):
    return [i.name for i in session.get_inputs() if i.name.startswith("past_key_values.")]


@pytest.mark.torch
def test_a_family_that_nobody_exports_is_named(gpt2, folder, tmp_path):
    source = open_source(str(folder))
    (folder / "config.json").write_text('{"model_type": "martian"}')
    source = dataclasses.replace(source, config={"model_type": "martian"})

    with pytest.raises(UnsupportedModel, match="'martian' is neither in edgellm's table nor"):
        export_standard(source, tmp_path)
