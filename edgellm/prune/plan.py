"""``prune-plan``: what goes, and why; made once, replayed on the same model.

History of the format:
    prune-plan 1: first version.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from edgellm.calibrate.calibration import CalibrationUsed
from edgellm.errors import UsageError

WIDTH_MULTIPLE = 32
"""Feed-forward widths stay whole blocks of quantization, which have at least 32 weights."""


@dataclass(frozen=True, slots=True)
class LayerChoice:
    """One layer of the model as it was: how much it turns the residual stream, and its fate."""

    layer: int
    block_influence: float
    removed: bool


@dataclass(frozen=True, slots=True)
class ChannelChoice:
    """One feed-forward block of the model without the removed layers.

    Attributes:
        layer: Its number in the new model.
        width: Channels that it had.
        kept: Channels that stay, ascending.
        importance_kept: Their share of the block's importance, 0 to 1.
    """

    layer: int
    width: int
    kept: tuple[int, ...]
    importance_kept: float


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """What to remove from one model.

    Attributes:
        model: The model's name, for people.
        model_digest: Digest of the stage folder that it was made for; no other takes it.
        calibration: What it was decided on.
        layers: Every layer, where layers go; otherwise empty.
        channels: Every block that is left, where channels go; otherwise empty.
    """

    KIND: ClassVar[str] = "prune-plan"
    SCHEMA: ClassVar[int] = 1
    UPGRADES: ClassVar[Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {}

    model: str
    model_digest: str
    calibration: CalibrationUsed
    layers: tuple[LayerChoice, ...]
    channels: tuple[ChannelChoice, ...]

    @property
    def removed_layers(self) -> tuple[int, ...]:
        """Layers that go, by their number in the model as it was."""
        return tuple(choice.layer for choice in self.layers if choice.removed)

    def check_fits(self, digest: str, name: str, calibration: CalibrationUsed) -> None:
        """Refuse to replay the plan on what it was not made for.

        Args:
            digest: Digest of the stage folder.
            name: Its name, for the message.
            calibration: The text at hand.

        Raises:
            UsageError: The model or the text is another one, or the plan was changed by hand into
                one that no model takes.
        """
        if digest != self.model_digest:
            raise UsageError(
                f"this plan was made for {self.model} with digest {self.model_digest[:12]}, "
                f"{name} has {digest[:12]}: make a new plan with --layers or --ffn"
            )
        if calibration.sha256 != self.calibration.sha256:
            raise UsageError(
                f"this plan was made with the calibration text {self.calibration.name} "
                f"(SHA-256 {self.calibration.sha256[:12]}): give that file with --calibration"
            )
        left = len(self.layers) - len(self.removed_layers)
        if self.layers and not left:
            raise UsageError("this plan removes every layer")
        for block, choice in enumerate(self.channels):
            whole = range(choice.width)
            if choice.layer != block or not choice.kept or set(choice.kept) - set(whole):
                raise UsageError(f"this plan keeps channels that block {block} does not have")


def choose_layers(influence: Sequence[float], count: int) -> tuple[LayerChoice, ...]:
    """Mark the ``count`` layers of least influence for removal.

    Raises:
        UsageError: No layer would be left.
    """
    if not 0 < count < len(influence):
        raise UsageError(
            f"cannot remove {count} of {len(influence)} layers: "
            f"give --layers 1 to {len(influence) - 1}"
        )
    order = sorted(range(len(influence)), key=lambda layer: influence[layer])
    removed = set(order[:count])
    return tuple(
        LayerChoice(layer, value, layer in removed) for layer, value in enumerate(influence)
    )


def width_after(width: int, ratio: float) -> int:
    """Return how many of ``width`` channels stay: the multiple of 32 nearest to what is asked.

    Raises:
        UsageError: The ratio leaves no channel, or takes none.
    """
    kept = round(width * (1 - ratio) / WIDTH_MULTIPLE) * WIDTH_MULTIPLE
    if not 0 < kept < width:
        step = WIDTH_MULTIPLE / width
        raise UsageError(
            f"a feed-forward ratio of {ratio:g} would keep {max(kept, 0)} of {width} channels "
            f"(widths are multiples of {WIDTH_MULTIPLE}): "
            f"give --ffn {step:.2f} to {1 - step:.2f}"
        )
    return kept


def choose_channels(layer: int, importance: Sequence[float], ratio: float) -> ChannelChoice:
    """Keep the most important channels of a block.

    Raises:
        UsageError: See :func:`width_after`.
    """
    width = len(importance)
    count = width_after(width, ratio)
    order = sorted(range(width), key=lambda channel: -importance[channel])
    kept = tuple(sorted(order[:count]))
    share = sum(importance[channel] for channel in kept) / sum(importance)
    return ChannelChoice(layer, width, kept, share)
