"""Whether a machine answers like the one that made its bundle."""

from collections.abc import Iterator
from dataclasses import dataclass

from edgellm.records.golden import Limits
from edgellm.records.samples import Unavailable


@dataclass(frozen=True, slots=True)
class PromptParity:
    """One golden prompt, replayed along its golden tokens.

    Attributes:
        tokens: Positions compared.
        equal: Positions whose best token is the golden one.
        first_difference: First position where it is not; None where all are equal.
        kl: KL divergence of the golden logits from these at each position, in nats; None where
            these are not finite numbers; empty where the bundle has no golden logits.
    """

    tokens: int
    equal: int
    first_difference: int | None
    kl: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class StageParity:
    """A value that a stage of the graph gave for what it was given where the bundle was made.

    Attributes:
        name: Of the value, such as ``layers.3.attention.output``.
        whole: Root mean square of the difference, as a share of that of the value.
        excess: The difference in multiples of what is accepted; None where it is no number.
    """

    name: str
    whole: float | None
    excess: float | None


@dataclass(frozen=True, slots=True)
class Parity:
    """How one machine answers, beside the one that made the bundle.

    Attributes:
        isa: This machine's arithmetic.
        made_on: The other's, in words.
        prompts: Every golden prompt.
        limits: What this arithmetic may differ by; None where the bundle does not say.
        stages_checked: Values at boundaries of stages that were compared.
        worst_stage: The one that differs most.
        failed_stages: Those that differ by more than is accepted.
        missing: What could not be compared, and why.
    """

    isa: str
    made_on: str
    prompts: tuple[PromptParity, ...]
    limits: Limits | None
    stages_checked: int = 0
    worst_stage: StageParity | None = None
    failed_stages: tuple[StageParity, ...] = ()
    missing: tuple[Unavailable, ...] = ()

    @property
    def tokens(self) -> int:
        """Positions compared."""
        return sum(prompt.tokens for prompt in self.prompts)

    @property
    def equal(self) -> int:
        """Positions with the golden token."""
        return sum(prompt.equal for prompt in self.prompts)

    @property
    def kl(self) -> tuple[float, float] | None:
        """Mean and maximum over all positions, in nats; None where there are no numbers."""
        found = [value for prompt in self.prompts for value in prompt.kl]
        known = [value for value in found if value is not None]
        return (sum(known) / len(known), max(known)) if known and len(known) == len(found) else None

    @property
    def met(self) -> bool | None:
        """Whether all differences are accepted; None where the bundle does not say what is."""
        return None if self.limits is None else not any(self.faults())

    def faults(self) -> Iterator[str]:
        """Yield what is wrong, a clause each; nothing where all is accepted or not judged."""
        if any(value is None for prompt in self.prompts for value in prompt.kl):
            yield "the logits are not finite numbers"
        if self.limits and self.kl:
            mean, most = self.kl
            if mean > self.limits.mean_kl:
                limit = self.limits.mean_kl
                yield f"the mean KL divergence is {mean:.2g} nats and the limit {limit:.2g}"
            if most > self.limits.max_kl:
                limit = self.limits.max_kl
                yield f"the largest KL divergence is {most:.2g} nats and the limit {limit:.2g}"
        if self.failed_stages:
            first, *others = self.failed_stages
            size = "no number" if first.excess is None else f"{first.excess:.3g} times the limit"
            more = f", and {len(others)} more do" if others else ""
            yield f"{first.name} differs by {size}{more}"
