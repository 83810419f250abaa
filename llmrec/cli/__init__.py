"""The ``llmrec`` command. One file a command; libraries load inside the commands, so that help is instant."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from llmrec.cli.process import (
    CLOSED_PIPE,
    discard_output,
    failure_of,
    is_closed_pipe,
    open_streams,
    own_process,
    report,
)

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and leave Python with its exit code.

    0: done; 1: failed; 2: wrong usage or configuration; 3: bad data; 130: stopped with Ctrl-C; 141: whoever read
    the output closed it; 143: told to stop (SIGTERM). With ``--json``, an error is one line of JSON on stderr.

    Args:
        arguments: what follows the command's name; none: what the process was given.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    open_streams()
    _never_fail_to_print()
    # Threads that wait should sleep: on a shared machine spinning ones cost several times what they gain elsewhere.
    # Read when torch is loaded, so this is the last place that can say so; the user's own setting stands.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with own_process():
        code = _run(given)
    sys.exit(code)


def _run(given: Sequence[str]) -> int:
    """Run a command; returns the exit code, after saying what went wrong if anything did."""
    try:
        from llmrec.cli.app import COMMAND

        # The option may stand anywhere; the application knows it at the front only.
        words = [word for word in given if word != "--debug"]
        code = COMMAND(args=words, prog_name="llmrec", standalone_mode=False)
        sys.stdout.flush()  # what a closed pipe refuses is refused here, not while Python is leaving
        stopped = failure_of(KeyboardInterrupt())  # the command-line parser makes a plain exit code of it
        failure = stopped if code == stopped.exit_code else None
    except BaseException as error:  # noqa: BLE001 - the last place where an error can be told in one line
        if is_closed_pipe(error):
            discard_output()
            return CLOSED_PIPE
        failure = failure_of(error)
        code = failure.exit_code
        if "--debug" in given and code != 0:
            import traceback

            traceback.print_exc()
            return code
    if failure is not None:
        report(failure, as_json="--json" in given)
    return int(code or 0)


def _never_fail_to_print() -> None:
    """A title in a script that the terminal's encoding lacks is shown by its escape; it stops nothing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
