"""What tests of several packages build: a report with known samples."""

import dataclasses
from collections.abc import Callable, Sequence

import pytest

from edgellm.records.report import (
    BundleFacts,
    CounterInfo,
    CounterSample,
    Environment,
    MachineState,
    Memory,
    Report,
    StageSamples,
    Unavailable,
    Workload,
)

MS = 1_000_000
RATE_HZ = 2e9

STATE = MachineState(
    load_average=0.1,
    memory_available_bytes=4 << 30,
    swap_used_bytes=0,
    frequency_hz={"policy0": 1_800_000_000},
    temperature_celsius={"0 cpu": 48.5},
)
ENVIRONMENT = Environment(
    kernel="6.12.1",
    machine="aarch64",
    cpu_model="Cortex-A72",
    board="Test Board 4",
    virtual=False,
    cores=4,
    affinity=(0, 1, 2, 3),
    memory_bytes=8 << 30,
    policies=(),
    versions={"onnxruntime": "1.32.0"},
    before=STATE,
    after=STATE,
)
REFERENCE = CounterInfo("reference_cycles", "TSC, rate from a test", rate_hz=RATE_HZ)


def _stage(name: str, tokens: int, wall_ms: Sequence[float], steps: int = 1) -> StageSamples:
    wall = tuple(round(ms * MS) for ms in wall_ms)
    return StageSamples(
        stage=name,
        tokens=tokens,
        wall_ns=wall,
        step_ns=tuple((ns // steps,) * steps for ns in wall) if steps > 1 else (),
        counters={
            "reference_cycles": tuple(
                CounterSample(round(ns * RATE_HZ / 1e9), ns, ns) for ns in wall
            )
        },
    )


@pytest.fixture
def make_report() -> Callable[..., Report]:
    """Build a report of 64 prompt and 3 output tokens.

    ``prefill_ms`` has one time per repetition; a decode step takes a tenth of it. Any other
    keyword replaces a field of the report.
    """

    def make(prefill_ms: Sequence[float] = (100, 101, 99, 100, 102), **fields: object) -> Report:
        n = len(prefill_ms)
        report = Report(
            tool_version="0.1.0",
            started_utc="2026-01-02T03:04:05+00:00",
            bundle=BundleFacts("tiny", "ab" * 32, 100 << 20),
            workload=Workload(64, 3, 67, 4, 1, n, "cd" * 32),
            environment=ENVIRONMENT,
            counters=(REFERENCE,),
            stages=(
                _stage("load", 0, [250]),
                _stage("tokenize", 64, [1] * n),
                _stage("prefill", 64, prefill_ms),
                _stage("decode", 2, [ms / 5 for ms in prefill_ms], steps=2),
                _stage("sample", 3, [0.3] * n, steps=3),
                _stage("detokenize", 3, [0.2] * n),
            ),
            memory=Memory(150 << 20, 120 << 20, 1 << 20),
            output_sha256=("ef" * 32,) * n,
            unavailable=(
                Unavailable("cycles", "no counter in a test (ENOENT)"),
                Unavailable("instructions", "no counter in a test (ENOENT)"),
            ),
        )
        return dataclasses.replace(report, **fields)  # type: ignore[arg-type]

    return make
