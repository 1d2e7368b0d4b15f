import argparse

import pytest

from edgellm.bundle.build import build_bundle
from edgellm.errors import DoesNotFit
from edgellm.records import fit
from edgellm.records.fit import BoardFacts
from edgellm.runner import memory_check
from edgellm.runner.memory_check import demand_memory


@pytest.fixture(scope="module")
def manifest(tiny_stage, tmp_path_factory):
    return build_bundle(tiny_stage, tmp_path_factory.mktemp("m") / "m").manifest


@pytest.fixture
def available(monkeypatch):
    """Set the memory that the machine says it has left; this process holds 10 MiB."""

    def set_to(mib):
        facts = BoardFacts(memory_available_bytes=mib << 20)
        monkeypatch.setattr(memory_check, "board_facts", lambda _: facts)
        monkeypatch.setattr(memory_check, "rss_bytes", lambda: 10 << 20)

    return set_to


def options(no_fit_check=False):
    return argparse.Namespace(no_fit_check=no_fit_check)


def test_pain_18_a_model_that_would_swap_is_refused_unless_asked_for(manifest, available):
    available(1)

    with pytest.raises(DoesNotFit, match=r"tiny needs \d+ MiB .* or go on with --no-fit-check"):
        demand_memory(options(), manifest, 64)
    demand_memory(options(no_fit_check=True), manifest, 64)


def test_what_this_process_holds_already_is_part_of_the_need(manifest, available):
    need = fit.memory_need(manifest, 64).total >> 20

    available(need - 9)
    demand_memory(options(), manifest, 64)
    available(need - 12)
    with pytest.raises(DoesNotFit):
        demand_memory(options(), manifest, 64)


def test_no_context_is_longer_than_the_models(manifest, available):
    available(1 << 20)
    demand_memory(options(), manifest, 1 << 40)
