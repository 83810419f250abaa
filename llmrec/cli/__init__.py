"""The ``llmrec`` command. One file a command; libraries load inside the commands, so that help is instant."""

from __future__ import annotations

import sys

from llmrec.errors import LlmrecError

__all__ = ["main"]


def main() -> None:
    """Run the command line; exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 bad data, 130 Ctrl-C."""
    from llmrec.cli.app import app

    try:
        app(prog_name="llmrec")
    except LlmrecError as error:
        if "--debug" in sys.argv:
            raise
        sys.stderr.write(f"llmrec: {error}\n")
        sys.exit(error.exit_code)
