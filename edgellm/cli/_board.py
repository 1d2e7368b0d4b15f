"""What commands that make a bundle for a board share."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from edgellm.records.manifest import BundleManifest

F = TypeVar("F", bound=Callable[..., Any])

target_option = click.option(
    "--target", metavar="ID", help="The board that it is made for; see edgellm targets."
)
wheels_option = click.option(
    "--wheels/--no-wheels",
    default=None,
    help="Bring the packages that the board needs (for Arm boards, where not given).",
)
fit_option = click.option(
    "--no-fit-check", is_flag=True, help="Go on where the board seems too small."
)


def describe_wheels(manifest: "BundleManifest") -> list[str]:
    """Return a line on the packages that a bundle brings; none where it brings none."""
    if not manifest.wheels:
        return []
    packages = sorted({f"{wheel.name} {wheel.version}" for wheel in manifest.wheels})
    pythons = {wheel.python for wheel in manifest.wheels if wheel.abi != "abi3"}
    sizes = {
        python: sum(wheel.installed_bytes for wheel in manifest.wheels if wheel.takes(python))
        for python in pythons
    }
    return [
        f"brings {', '.join(packages)} for Python {' and '.join(sorted(sizes))}; "
        f"installed {max(sizes.values()) / 2**20:.0f} MiB"
    ]
