import json

import pytest

from edgellm.errors import BundleInvalid, UnsupportedModel, UsageError
from edgellm.export import huggingface


def test_a_folder_that_is_not_a_model_is_named_with_what_it_lacks(tmp_path):
    with pytest.raises(UsageError, match=r"is not a model folder: it has no config.json"):
        huggingface.read_config(tmp_path)


def test_a_folder_that_holds_a_gguf_file_points_to_it(tmp_path):
    (tmp_path / "some.gguf").touch()

    with pytest.raises(UsageError, match=r"give the file .*some.gguf"):
        huggingface.read_config(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"model_type": 3}'])
def test_a_damaged_configuration_is_named(tmp_path, text):
    (tmp_path / "config.json").write_text(text)

    with pytest.raises(BundleInvalid, match=r"config.json"):
        huggingface.read_config(tmp_path)


def test_the_chat_template_is_found_where_it_lies(tmp_path):
    assert huggingface.read_chat_template(tmp_path) is None

    several = [{"name": "tool", "template": "T"}, {"name": "default", "template": "D"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": several}))
    assert huggingface.read_chat_template(tmp_path) == "D"

    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "one"}))
    assert huggingface.read_chat_template(tmp_path) == "one"

    (tmp_path / "chat_template.jinja").write_text("own")
    assert huggingface.read_chat_template(tmp_path) == "own"


def test_the_generation_configuration_says_where_to_stop(tmp_path):
    assert huggingface.read_end_ids(tmp_path, {}) == ()
    assert huggingface.read_end_ids(tmp_path, {"eos_token_id": 2}) == (2,)

    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [5, 6]}')
    assert huggingface.read_end_ids(tmp_path, {"eos_token_id": 2}) == (5, 6)


def test_the_licence_is_read_from_the_model_card(tmp_path):
    assert huggingface.read_license(tmp_path) is None

    (tmp_path / "README.md").write_text("---\ntags:\n- x\nlicense: mit\n---\nlicense: no\n")
    assert huggingface.read_license(tmp_path) == "mit"

    (tmp_path / "README.md").write_text("# Title\nlicense: no\n")
    assert huggingface.read_license(tmp_path) is None


@pytest.mark.torch
def test_a_folder_without_any_tokenizer_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')

    with pytest.raises(UnsupportedModel, match=r"no tokenizer.json"):
        huggingface.read_tokenizer(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer.json", "chat_template.jinja"])
def test_a_file_that_is_not_text_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"{\xff}")
    read = {
        "tokenizer.json": huggingface.read_tokenizer,
        "chat_template.jinja": huggingface.read_chat_template,
    }

    with pytest.raises(BundleInvalid, match=f"{name} is not UTF-8 text"):
        read[name](tmp_path)
