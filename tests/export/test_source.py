import hashlib

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer

from edgellm.errors import BundleInvalid, UsageError
from edgellm.export import hub, named
from edgellm.export.source import open_source

DEFAULT = "smollm2-135m-instruct"


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def whole_folder(folder):
    save_file({"w": np.ones((2, 2), np.float32)}, folder / "model.safetensors")
    return folder


def test_a_gguf_file_becomes_a_source(write_gguf, embedding):
    metadata = {
        "tokenizer.chat_template": "{{ messages }}",
        "tokenizer.ggml.eos_token_id": 9,
        "general.license": "mit",
    }
    path = write_gguf(embedding, metadata)

    source = open_source(str(path))

    assert source.name == "tiny"
    assert source.config["model_type"] == "llama"
    assert list(source.weights.names()) == ["model.embed_tokens.weight"]
    assert Tokenizer.from_str(source.tokenizer_json).token_to_id("<|im_end|>") == 2
    assert source.chat_template == "{{ messages }}"
    assert source.stop_token_ids == (9, 2, 0)  # the file's own, then those known
    assert source.bos_token_id == 1
    assert source.license == "mit"
    assert source.provenance == {
        "kind": "gguf",
        "path": "tiny.gguf",
        "sha256": {"tiny.gguf": digest(path)},
    }
    assert source.folder is None


def test_a_hugging_face_folder_becomes_a_source(whole_folder, plain_tokenizer):
    plain_tokenizer.add_special_tokens([AddedToken("<|im_end|>")])
    plain_tokenizer.save(str(whole_folder / "tokenizer.json"))

    source = open_source(str(whole_folder))

    assert source.name == "tiny-llama"
    assert list(source.weights.names()) == ["w"]
    assert source.stop_token_ids == (5, 256)
    assert source.bos_token_id == 4
    assert source.chat_template is None
    assert source.license is None
    assert source.provenance == {
        "kind": "folder",
        "path": "tiny-llama",
        "sha256": {"model.safetensors": digest(whole_folder / "model.safetensors")},
    }
    assert source.folder == whole_folder


def test_a_hub_id_is_pinned_to_the_commit_that_it_resolved_to(whole_folder, monkeypatch):
    asked = []

    def fetch(repo, revision):
        asked.append((repo, revision))
        return whole_folder, "c0ffee"

    monkeypatch.setattr(hub, "fetch_snapshot", fetch)

    source = open_source("owner/Some-Model@v1.0")

    assert asked == [("owner/Some-Model", "v1.0")]
    assert source.name == "Some-Model"
    assert source.provenance["repo"] == "owner/Some-Model"
    assert source.provenance["revision"] == "c0ffee"
    assert open_source("owner/Some-Model").provenance["asked"] == "main"


@pytest.mark.parametrize(
    ("asked", "meant"),
    [("smolm2-135m", DEFAULT), ("{folder}-lama", "{folder}"), ("{folder}.guf", "{folder}.gguf")],
)
def test_an_unknown_model_is_answered_with_what_may_be_meant(folder, asked, meant):
    folder.with_suffix(".gguf").touch()

    with pytest.raises(UsageError, match=r"no model .* did you mean '([^']+)'") as caught:
        open_source(asked.format(folder=folder))
    assert f"did you mean '{meant.format(folder=folder)}'" in str(caught.value)


def test_a_name_like_nothing_known_gets_the_ways_to_name_a_model():
    with pytest.raises(UsageError, match=r"a .gguf file, a Hugging Face folder, or a hub id"):
        open_source("!!!")


@pytest.mark.parametrize("record", ["stage.json", "manifest.json"])
def test_what_was_exported_already_is_not_a_source(whole_folder, record):
    (whole_folder / record).touch()

    with pytest.raises(UsageError, match=f"exported already: it holds {record}"):
        open_source(str(whole_folder))


def test_a_damaged_tokenizer_is_named(whole_folder):
    (whole_folder / "tokenizer.json").write_text('{"model"')

    with pytest.raises(BundleInvalid, match=r"tokenizer.json is damaged"):
        open_source(str(whole_folder))


def test_progress_is_told_of_the_digests(whole_folder):
    told = []
    open_source(str(whole_folder), progress=lambda *step: told.append(step))

    assert told == [("reading the weights' digests", 0, 1)]


@pytest.mark.skipif(
    not (named.cache_folder() / "models" / DEFAULT).is_dir(),
    reason=f"{DEFAULT} is not in the cache; edgellm export {DEFAULT} fetches it",
)
def test_the_default_model_has_the_tokens_that_llama_cpp_gives():
    source = open_source(DEFAULT)
    tokenizer = Tokenizer.from_str(source.tokenizer_json)

    assert source.license == "Apache-2.0"
    assert source.stop_token_ids == (2, 0)
    ids = tokenizer.encode("<|im_start|>user\nAdd 12 \u4f60\u597d\U0001f389<|im_end|>").ids
    assert ids == [1, 4093, 198, 7684, 216, 33, 34, 216, 18645, 250, 48392, 138, 10813, 232, 227, 2]
