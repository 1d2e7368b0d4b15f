"""Pruning a stage folder, from request or plan to the folder that is written."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from edgellm.calibrate import gram
from edgellm.calibrate.calibration import Calibration, load_calibration
from edgellm.errors import UnsupportedModel, UsageError
from edgellm.graph.stage_folder import StageFolder, derive_stage, load_graph, open_stage
from edgellm.prune.anatomy import data, feed_forward
from edgellm.prune.plan import LayerChoice, PrunePlan
from edgellm.prune.pruning import Pruned, Request, prune
from edgellm.records.manifest import MODEL_FILE, TOKENIZER_FILE, StageRecord, Step
from edgellm.runner.session import Engine, Session


@pytest.fixture
def calibration(stage: StageFolder, calibration_file: Path) -> Calibration:
    return load_calibration(stage.path / TOKENIZER_FILE, calibration_file, 64)


def written(stage: StageFolder, pruned: Pruned, output: Path) -> StageRecord:
    return derive_stage(stage, output, pruned.graph, pruned.step(stage), model=pruned.facts)


def test_a_pruned_model_is_smaller_and_runs(
    stage: StageFolder, calibration: Calibration, tmp_path: Path
) -> None:
    pruned = prune(stage, Request(layers=1, ffn=1 / 3), calibration, threads=1)

    record = written(stage, pruned, tmp_path / "out")

    # One layer of 16 * (64 + 32 + 3 * 96) + 32, and 32 of 96 channels in two others, 48 each.
    assert pruned.parameters_before - pruned.parameters_after == 6176 + 2 * 32 * 48
    assert record.model.kv.layers == 2
    session = Session(tmp_path / "out" / MODEL_FILE, record.model, engine=Engine(1))
    assert session.forward(np.array([[40, 41, 42]], np.int64)).shape == (1, 1, 258)


def test_the_layer_of_least_influence_goes(stage: StageFolder, calibration: Calibration) -> None:
    plan = prune(stage, Request(layers=1), calibration, threads=1).plan

    influence = [choice.block_influence for choice in plan.layers]
    assert plan.removed_layers == (int(np.argmin(influence)),)
    assert plan.channels == ()


def plan_without(stage: StageFolder, calibration: Calibration, *removed: int) -> PrunePlan:
    layers = tuple(LayerChoice(layer, 0.5, layer in removed) for layer in range(3))
    return PrunePlan("test", stage.record.digest, calibration.used, layers, ())


def test_the_block_before_removed_layers_stands_in_for_them(
    stage: StageFolder, calibration: Calibration
) -> None:
    pruned = prune(stage, plan_without(stage, calibration, 1, 2), calibration, threads=1)

    (error,) = pruned.absorbed
    assert (error.layer, error.before) == (0, 1)
    assert error.after < 0.9
    kept, original = (
        data(feed_forward(graph.graph, 0).down) for graph in (pruned.graph, load_graph(stage))
    )
    assert not np.array_equal(kept, original)


def test_nothing_stands_in_for_the_first_layer(
    stage: StageFolder, calibration: Calibration
) -> None:
    pruned = prune(stage, plan_without(stage, calibration, 0), calibration, threads=1)

    assert pruned.absorbed == ()


def test_every_block_is_refitted_and_nearer_than_before(
    stage: StageFolder, calibration: Calibration
) -> None:
    pruned = prune(stage, Request(ffn=1 / 3), calibration, threads=1)

    assert [error.layer for error in pruned.refits] == [0, 1, 2]
    assert all(0 < error.after < error.before < 1 for error in pruned.refits)


def test_replaying_a_plan_gives_the_same_bytes(
    stage: StageFolder, calibration: Calibration, tmp_path: Path
) -> None:
    first = prune(stage, Request(layers=1, ffn=1 / 3), calibration, threads=1)
    again = prune(stage, first.plan, calibration, threads=1)

    assert again.plan == first.plan
    assert written(stage, again, tmp_path / "b") == written(stage, first, tmp_path / "a")


def test_a_plan_for_another_model_is_refused(
    stage: StageFolder, calibration: Calibration, tmp_path: Path
) -> None:
    first = prune(stage, Request(layers=1), calibration, threads=1)
    written(stage, first, tmp_path / "out")

    with pytest.raises(UsageError, match="this plan was made for test with digest"):
        prune(open_stage(tmp_path / "out"), first.plan, calibration, threads=1)


def test_blocks_taken_one_at_a_time_give_the_same_plan(
    stage: StageFolder, calibration: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = prune(stage, Request(ffn=1 / 3), calibration, threads=1)
    monkeypatch.setattr(gram, "GRAM_BYTES", 1)

    alone = prune(stage, Request(ffn=1 / 3), calibration, threads=1)

    kept = [[choice.kept for choice in pruned.plan.channels] for pruned in (together, alone)]
    assert kept[0] == kept[1]


def test_the_source_folder_stays_as_it_was(stage: StageFolder, calibration: Calibration) -> None:
    prune(stage, Request(layers=1, ffn=1 / 3), calibration, threads=1)

    assert open_stage(stage.path).record == stage.record
    assert data(feed_forward(load_graph(stage).graph, 2).down).shape == (96, 16)


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (Request(), "nothing to prune: give --layers, --ffn or --plan"),
        (Request(layers=3), "cannot remove 3 of 3 layers"),
        (Request(ffn=0.95), "would keep 0 of 96 channels"),
        (Request(layers=-1), "cannot remove -1 of 3 layers"),
    ],
)
def test_impossible_requests_are_refused(
    stage: StageFolder, calibration: Calibration, request_: Request, sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        prune(stage, request_, calibration, threads=1)


def test_a_quantized_model_is_refused(stage: StageFolder, calibration: Calibration) -> None:
    step = Step("quantize", {}, {}, {})
    record = dataclasses.replace(stage.record, provenance=(*stage.record.provenance, step))

    with pytest.raises(UsageError, match="is quantized; prune the folder that edgellm export"):
        prune(dataclasses.replace(stage, record=record), Request(layers=1), calibration)


def test_a_graph_of_the_standard_route_is_refused(
    stage: StageFolder, calibration: Calibration
) -> None:
    facts = dataclasses.replace(stage.record.model, route="standard")
    record = dataclasses.replace(stage.record, model=facts)

    with pytest.raises(UnsupportedModel, match="standard route"):
        prune(dataclasses.replace(stage, record=record), Request(layers=1), calibration)
