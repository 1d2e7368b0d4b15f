import pytest
from huggingface_hub.utils._http import reset_sessions

from edgellm.errors import UsageError
from edgellm.export import hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A hub cache of one model, on a machine that is offline."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model = tmp_path / "models--owner--name"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(COMMIT)
    (model / "snapshots" / COMMIT).mkdir(parents=True)
    reset_sessions()  # a session remembers whether it was offline
    yield model
    reset_sessions()


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_a_cached_model_is_served_offline_with_its_commit(cache, revision):
    folder, commit = hub.fetch_snapshot("owner/name", revision)

    assert folder == cache / "snapshots" / COMMIT
    assert commit == COMMIT


def test_a_cached_model_is_served_where_the_way_out_is_broken(cache, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody answers there

    assert hub.fetch_snapshot("owner/name", None)[1] == COMMIT


@pytest.mark.parametrize("asked", [("owner/other", None), ("owner/name", "v2")])
def test_what_is_not_cached_is_refused_offline(cache, asked):
    with pytest.raises(UsageError, match=rf"{asked[0]} is no path here, not in the local cache"):
        hub.fetch_snapshot(*asked)
