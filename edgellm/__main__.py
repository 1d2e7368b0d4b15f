"""``edgellm`` and ``python -m edgellm``."""

import sys


def main() -> None:
    """Run the command line, or say which extra it needs."""
    try:
        import click  # noqa: F401 - only to see whether the host extra is here
    except ModuleNotFoundError:
        sys.exit("edgellm's host commands need click: pip install 'edgellm[host]'")
    from edgellm.cli import main as cli

    cli()


if __name__ == "__main__":
    main()
