import numpy as np
import pytest

from edgellm.records import codec
from edgellm.records.manifest import MODEL_FILE, STAGE_FILE, WEIGHTS_FILE, StageRecord
from edgellm.runner.probe import Stages, distance, stored
from edgellm.runner.session import Engine, Session
from edgellm.runner.weights import WeightsFile

IDS = (72, 101, 108, 108)


@pytest.fixture
def stages(tiny_stage):
    record = codec.read(StageRecord, tiny_stage / STAGE_FILE)
    data = tiny_stage / WEIGHTS_FILE
    weights = WeightsFile(data) if data.exists() else None
    return Stages((tiny_stage / MODEL_FILE).read_bytes(), record.model, weights, Engine(1))


def test_stages_in_a_row_give_the_logits_of_the_whole_graph(stages, tiny_stage):
    whole = Session(tiny_stage / MODEL_FILE, stages.model, engine=Engine(1)).prefill(IDS)

    values = dict(stages.run(IDS))

    assert distance(values["logits"], whole[None]).whole < 0.01


def test_what_is_given_decides_and_not_what_came_before(stages):
    given = {name: stored(value).astype(np.float32) for name, value in stages.run(IDS)}
    given["layers.0.feed_forward.down"] = given["layers.0.feed_forward.down"] + 1

    changed = {
        name: float(distance(value, given[name]).whole.max())
        for name, value in stages.run(IDS, given)
    }

    far = {name for name, size in changed.items() if size > 0.01}
    assert far == {
        "layers.0.feed_forward.down",  # what was given there, and not what the stage gave
        "layers.1.attention_norm.norm",
        "layers.1.attention_norm.norm.sum",
    }


def test_a_distance_is_a_share_of_each_token_by_itself():
    expected = np.array([[3, 4], [300, 400]], np.float32)
    found = expected + np.array([[0, 0.5], [0, 5]], np.float32)

    apart = distance(found, expected)

    assert apart.whole == pytest.approx([0.1, 0.01])
    assert apart.channel == pytest.approx([0.5 / 12.5**0.5, 5 / 125000**0.5])


def test_values_too_large_for_half_the_bytes_are_stored_whole():
    assert stored(np.array([[1e3]], np.float32)).dtype == np.float16
    assert stored(np.array([[1e6]], np.float32)).dtype == np.float32
