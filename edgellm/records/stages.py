"""The stage of inference that a node belongs to: a fact of the graph, carried by the node.

Names: ``embedding``, ``layers.I.attention_norm``, ``layers.I.attention``,
``layers.I.feed_forward_norm``, ``layers.I.feed_forward``, ``final_norm``, ``head``.
"""

import re
from collections.abc import Mapping
from typing import Protocol

KEY = "edgellm.stage"
EMBEDDING = "embedding"
ATTENTION_NORM = "attention_norm"
ATTENTION = "attention"
FEED_FORWARD_NORM = "feed_forward_norm"
FEED_FORWARD = "feed_forward"
FINAL_NORM = "final_norm"
HEAD = "head"
KINDS = (
    EMBEDDING,
    ATTENTION_NORM,
    ATTENTION,
    FEED_FORWARD_NORM,
    FEED_FORWARD,
    FINAL_NORM,
    HEAD,
)

# What is numbered by layer: stages, nodes and initializers, and the cache that goes in and out.
NUMBERED = re.compile(r"^(layers|past_key_values|present)\.(\d+)(?=\.)")


class Node(Protocol):
    """What carries a stage: a node of an ``onnx_ir`` graph."""

    @property
    def metadata_props(self) -> Mapping[str, str]:
        """Facts of the node by name."""


def of(node: Node) -> str | None:
    """Return the stage of ``node``, or None in a graph of the standard route."""
    return node.metadata_props.get(KEY)


def layer_of(name: str | None) -> int | None:
    """Return the layer in the name of a stage, node or value; None outside the layers."""
    match = NUMBERED.match(name or "")
    return int(match.group(2)) if match else None


def kind_of(stage: str) -> str:
    """Return a stage's name without its layer: ``layers.3.attention`` is ``attention``."""
    return stage.rsplit(".", 1)[-1]
