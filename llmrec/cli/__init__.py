"""The ``llmrec`` command. One file a command; libraries load inside the commands, so that help is instant."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from llmrec.errors import LlmrecError

__all__ = ["main"]

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and leave Python with its exit code.

    0: done; 1: failed; 2: wrong usage or configuration; 3: bad data; 130: stopped with Ctrl-C.

    Args:
        arguments: what follows the command's name; none: what the process was given.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    _never_fail_to_print()
    # Threads that wait should sleep: on a shared machine spinning ones cost several times what they gain elsewhere.
    # Read when torch is loaded, so this is the last place that can say so; the user's own setting stands.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        from llmrec.cli.app import app

        # The option may stand anywhere; the application knows it at the front only.
        app(args=[word for word in given if word != "--debug"], prog_name="llmrec")
    except LlmrecError as error:
        _report(f"llmrec: {error}", debug)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except OSError as error:
        _report(f"llmrec: {error}", debug)
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - a bug: still one line, and how to see more
        _report(f"llmrec: {type(error).__name__}: {error}\nThis is a bug in llmrec; --debug shows where.", debug)
        sys.exit(1)


def _report(message: str, debug: bool) -> None:
    """Say on stderr what went wrong; with the traceback of the current error if it is wanted."""
    if debug:
        import traceback

        traceback.print_exc()
    else:
        sys.stderr.write(f"{message}\n")


def _never_fail_to_print() -> None:
    """A title in a script that the terminal's encoding lacks is shown by its escape; it stops nothing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
