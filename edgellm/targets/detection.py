"""Which target a machine is, from facts alone; and for every other one, why not."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from edgellm.measure.environment import FEATURES
from edgellm.records.target import Target
from edgellm.targets.files import load, names

REVISION = re.compile(r" rev [\w.]+$")


class Facts(Protocol):
    """What detection reads; :class:`edgellm.records.machine.Environment` has all of it."""

    @property
    def machine(self) -> str:
        """As ``platform.machine()`` names it."""

    @property
    def board(self) -> str | None:
        """The device tree's ``model``, or the firmware's product name."""

    @property
    def compatible(self) -> tuple[str, ...]:
        """The device tree's ``compatible``."""

    @property
    def cpu_model(self) -> str | None:
        """Name of the first core."""

    @property
    def core_models(self) -> Mapping[str, int]:
        """Cores of each kind; empty where one is unknown."""

    @property
    def cores(self) -> int:
        """Of the machine."""

    @property
    def memory_bytes(self) -> int | None:
        """What the kernel has, a little less than is installed."""

    @property
    def features(self) -> tuple[str, ...]:
        """Those of :data:`edgellm.measure.environment.FEATURES` that it has."""


@dataclass(frozen=True, slots=True)
class Detection:
    """What a machine is.

    Attributes:
        best: The target that fits and says most; None where not even a generic one fits.
        why_not: By id of every other target, one sentence or more; the nearest targets first.
    """

    best: Target | None
    why_not: Mapping[str, tuple[str, ...]]


def detect(facts: Facts, among: Iterable[Target] | None = None) -> Detection:
    """Return which target a machine is.

    A named board says more than a chip, a chip more than an instruction set. Nothing is read from
    this machine, so the facts may be another's.

    Args:
        facts: Of the machine, such as the environment in a report.
        among: Targets to choose from; all that are known where None.

    Raises:
        BundleInvalid: A target's file is wrong.
    """
    known = tuple(map(load, names()) if among is None else among)
    reasons = {target.id: tuple(_reasons(target, facts)) for target in known}
    fitting = [target for target in known if not reasons[target.id]]
    best = max(fitting, key=_detail, default=None)
    for target in fitting:
        reasons[target.id] = (f"it fits as well, but says less than {best and best.id}",)
    others = [target for target in known if target is not best]
    others.sort(key=_detail, reverse=True)
    others.sort(key=lambda target: (target.arch != facts.machine, len(reasons[target.id])))
    return Detection(best, {target.id: reasons[target.id] for target in others})


def _detail(target: Target) -> tuple[bool, bool, bool, int]:
    features = len(target.features)
    return bool(target.models), bool(target.chips), target.memory.bytes is not None, features


def _reasons(target: Target, facts: Facts) -> Iterator[str]:
    if target.arch != facts.machine:
        yield f"it is {target.arch}, this machine {facts.machine}"
        return
    yield from _names(target, facts)
    yield from _cores(target, facts)
    lacking = [f for f in target.features if f in FEATURES and f not in facts.features]
    if lacking:
        yield f"this machine lacks {' '.join(lacking)}"
    yield from _memory(target.memory.bytes, facts.memory_bytes)


def _names(target: Target, facts: Facts) -> Iterator[str]:
    if target.models:
        board = REVISION.sub("", (facts.board or "").lower())
        if board not in (model.lower() for model in target.models):
            yield f"it calls itself {_either(target.models)}, this machine {_quoted(facts.board)}"
    elif target.chips and not {*facts.compatible, facts.cpu_model}.intersection(target.chips):
        chip = facts.compatible[-1] if facts.compatible else facts.cpu_model
        yield f"its chip is {_either(target.chips)}, this machine's {_quoted(chip)}"


def _cores(target: Target, facts: Facts) -> Iterator[str]:
    if target.cores is None:
        return
    wanted = Counter[str]()
    for cluster in target.clusters:
        wanted[cluster.uarch] += cluster.cores or 0
    found = Counter({uarch_of(name): count for name, count in facts.core_models.items()})
    if found and target.arch == "aarch64":
        if found != wanted:
            yield f"it has {_counts(wanted)}, this machine {_counts(found)}"
    elif target.cores != facts.cores:
        yield f"it has {target.cores} cores, this machine {facts.cores}"


def _memory(installed: int | None, found: int | None) -> Iterator[str]:
    """Sizes go in steps of two, and the kernel keeps a part: so more than half of it is it."""
    if installed is None:
        return
    if found is None:
        yield "this machine does not say how much memory it has"
    elif not installed // 2 < found <= installed:
        yield f"it has {installed / 2**30:.3g} GiB of memory, this machine {found / 2**30:.3g} GiB"


def uarch_of(name: str) -> str:
    """Return the micro-architecture of a core as targets spell it: ``cortex_a76``.

    Args:
        name: As the probes spell it: ``Cortex-A76``.
    """
    return name.lower().replace("-", "_")


def _either(names: Iterable[str]) -> str:
    return " or ".join(map(_quoted, names))


def _quoted(name: str | None) -> str:
    return "nothing" if name is None else repr(name)


def _counts(cores: Mapping[str, int]) -> str:
    return " + ".join(f"{count} x {uarch}" for uarch, count in sorted(cores.items()))
