import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgellm.errors import BundleInvalid
from edgellm.records import codec, report
from edgellm.records.report import Report
from edgellm.records.samples import CounterSample, StageSamples

COUNT = st.integers(0, 2**62)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    st.builds(
        StageSamples,
        stage=st.text(),
        tokens=COUNT,
        wall_ns=st.lists(COUNT).map(tuple),
        step_ns=st.lists(st.lists(COUNT).map(tuple)).map(tuple),
        counters=st.dictionaries(
            st.text(),
            st.lists(st.builds(CounterSample, COUNT, COUNT, COUNT)).map(tuple),
        ),
    )
)
def test_samples_come_back_as_they_were(stage):
    text = json.dumps(codec.to_json(stage))
    assert codec.from_json(StageSamples, json.loads(text)) == stage


def test_a_report_comes_back_as_it_was(tmp_path, make_report):
    path = tmp_path / "r.json"
    codec.write(path, make_report())
    assert report.read(path) == make_report()


def _written(tmp_path, made, **changes):
    path = tmp_path / "r.json"
    path.write_text(codec.dumps(made))
    data = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(data))
    return path


def test_a_report_of_a_newer_edgellm_says_to_upgrade(tmp_path, make_report):
    path = _written(tmp_path, make_report(), schema=Report.SCHEMA + 1)
    with pytest.raises(
        BundleInvalid, match=rf"r\.json has schema {Report.SCHEMA + 1}, .* upgrade edgellm"
    ):
        report.read(path)


def test_a_report_that_is_cut_off_is_named(tmp_path, make_report):
    path = tmp_path / "r.json"
    path.write_text(codec.dumps(make_report())[:-40])
    with pytest.raises(BundleInvalid, match=r"r\.json is not valid JSON .* damaged or cut off"):
        report.read(path)


def test_nan_is_no_measurement(tmp_path, make_report):
    path = tmp_path / "r.json"
    path.write_text(codec.dumps(make_report()).replace("48.5", "NaN"))
    with pytest.raises(BundleInvalid, match="holds NaN, which is not a measurement"):
        report.read(path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"wall_ns": (5, -1)}, "stage 'decode' holds -1, which is not a measurement"),
        ({"wall_ns": ()}, "stage 'decode' has no samples"),
        ({"step_ns": ((1,),)}, "has the steps of 1 repetitions, not 2"),
        ({"counters": {"cycles": ()}}, "has 0 samples of 'cycles' for 2 repetitions"),
    ],
)
def test_samples_that_cannot_be_are_refused(tmp_path, make_report, changes, sentence):
    good = StageSamples("decode", 2, (5, 6))
    path = tmp_path / "r.json"
    codec.write(path, make_report(stages=(dataclasses.replace(good, **changes),)))
    with pytest.raises(BundleInvalid, match=sentence):
        report.read(path)


def test_a_report_of_the_first_schema_reads_with_its_cautions_judged_anew(tmp_path, make_report):
    path = _written(tmp_path, make_report(), schema=1)
    data = json.loads(path.read_text())
    for new in ("start_ns", "boundary_ns", "depths", "work", "views", "timeline", "roofs"):
        del data[new]
    del data["interleaved"], data["memory"]["clean_peak"]
    data["warnings"] = [{"code": "peak_not_reset", "sentence": "measure in a fresh process"}]
    path.write_text(json.dumps(data))

    read = report.read(path)

    assert read.stage("prefill") == make_report().stage("prefill")
    assert not read.memory.clean_peak
    assert read.views.staged is None
