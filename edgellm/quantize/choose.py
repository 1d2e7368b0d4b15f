"""Choose each matmul's kernel for a core, by what it costs there."""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from edgellm.quantize.costs import PREFILL_ROWS, Costs, shipped
from edgellm.quantize.matmuls import WeightMatMul, weight_matmuls
from edgellm.quantize.scheme import FLOAT, Kernel, Scheme, unnumbered
from edgellm.records import stages

ROWS_8, BLOCKS_8, BLOCKS_4 = Kernel("rows", 8), Kernel("blocks", 8), Kernel("blocks", 4)
KERNELS = (BLOCKS_4, ROWS_8, BLOCKS_8, FLOAT)
"""All that were counted, from the least exact to the most."""

CHOICES: Mapping[str, tuple[Kernel, ...]] = {
    "auto": (ROWS_8, BLOCKS_8),
    "int8": (ROWS_8, BLOCKS_8),
    "int4": (BLOCKS_4,),
}
"""What a scheme leaves to choose from; of equal cost, the first. 4 bits must be asked for: they
cost quality, and what they save is bytes, which no count of instructions shows."""
HEAD_CHOICES = (ROWS_8, BLOCKS_8)
"""4 bits cost a head too much quality, whatever the scheme."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What the model will do: the shares of prefill and decode in the cost of a kernel."""

    prompt_tokens: int = 64
    output_tokens: int = 64


@dataclass(frozen=True, slots=True)
class Cost:
    """Instructions of some matmuls: of one decoded token, and of the whole prompt."""

    decode: float
    prefill: float

    def total(self, workload: Workload) -> float:
        """Return the instructions of a whole answer."""
        return self.prefill + self.decode * workload.output_tokens


@dataclass(frozen=True, slots=True)
class Group:
    """Matmuls of one kind, such as all down projections; they have one size, and take one kernel.

    Attributes:
        name: Their nodes' name without the layer, or ``head``.
        matmuls: Their names.
        costs: Of all of them, by kernel.
    """

    name: str
    matmuls: tuple[str, ...]
    costs: Mapping[Kernel, Cost]


@dataclass(frozen=True, slots=True)
class Plan:
    """A kernel for every group; ``core`` is a key of the table of costs."""

    core: str
    workload: Workload
    groups: tuple[Group, ...]
    kernels: tuple[Kernel, ...]

    @property
    def cost(self) -> Cost:
        """Predicted cost of all matmuls; norms, attention and the rest are not in it."""
        costs = [group.costs[k] for group, k in zip(self.groups, self.kernels, strict=True)]
        return Cost(sum(c.decode for c in costs), sum(c.prefill for c in costs))

    def scheme(self, base: Scheme) -> Scheme:
        """Return ``base`` with the plan's kernels, where it does not name others itself."""
        chosen = {group.name: k for group, k in zip(self.groups, self.kernels, strict=True)}
        return dataclasses.replace(base, layers={**chosen, **base.layers})

    def more_exact(self, losses: Mapping[str, float]) -> "Plan | None":
        """Return the plan to try when this one loses too much quality; None where none is left.

        One group gives its kernel up for the cheapest of those that are more exact: the group with
        the largest loss for each instruction that the change costs.

        Args:
            losses: What each matmul loses in rows, see :mod:`edgellm.quantize.sensitivity`.
        """
        best, best_gain = None, -1.0
        for index, (group, kernel) in enumerate(zip(self.groups, self.kernels, strict=True)):
            exacter = KERNELS[KERNELS.index(kernel) + 1 :]
            if not exacter:
                continue
            total = {k: group.costs[k].total(self.workload) for k in (kernel, *exacter)}
            cheapest = min(exacter, key=total.__getitem__)
            loss = sum(losses[name] ** 2 for name in group.matmuls)
            gain = loss / max(total[cheapest] - total[kernel], 1.0)
            if gain > best_gain:
                kernels = (*self.kernels[:index], cheapest, *self.kernels[index + 1 :])
                best, best_gain = dataclasses.replace(self, kernels=kernels), gain
        return best


def choose(
    graph: ir.Graph,
    core: str,
    allowed: Collection[Kernel],
    workload: Workload | None = None,
    costs: Costs | None = None,
) -> Plan:
    """Choose the kernels that need the fewest instructions for a workload.

    Args:
        graph: A graph in float.
        core: A key of the table.
        allowed: Kernels to choose from, but for the head, see :data:`HEAD_CHOICES`.
        workload: What the model will do.
        costs: The table; the one that ships where None.
    """
    costs, workload = costs or shipped(), workload or Workload()
    members: dict[str, list[WeightMatMul]] = {}
    for matmul in weight_matmuls(graph):
        name = stages.HEAD if matmul.is_head else unnumbered(matmul.name)
        members.setdefault(name, []).append(matmul)
    groups = tuple(
        Group(
            name,
            tuple(matmul.name for matmul in found),
            {kernel: _cost(costs, core, kernel, found, workload) for kernel in KERNELS},
        )
        for name, found in members.items()
    )
    kernels = tuple(
        min(
            HEAD_CHOICES if group.name == stages.HEAD else allowed,
            key=lambda kernel: group.costs[kernel].total(workload),
        )
        for group in groups
    )
    return Plan(core, workload, groups, kernels)


def _cost(
    costs: Costs, core: str, kernel: Kernel, matmuls: Sequence[WeightMatMul], workload: Workload
) -> Cost:
    sizes = [(matmul.inputs, matmul.outputs) for matmul in matmuls]
    decode = sum(costs.count(core, kernel, size, 1) for size in sizes)
    if matmuls[0].is_head:  # of a prompt, it sees the last token only
        return Cost(decode, decode)
    at_once = sum(costs.count(core, kernel, size, PREFILL_ROWS) for size in sizes)
    return Cost(decode, at_once * workload.prompt_tokens / PREFILL_ROWS)


def plans(first: Plan, losses: Callable[[], Mapping[str, float]]) -> Iterator[Plan]:
    """Yield ``first`` and then each plan that is next best; ``losses`` is asked when needed."""
    yield first
    known = losses()
    plan = first.more_exact(known)
    while plan is not None:
        yield plan
        plan = plan.more_exact(known)
