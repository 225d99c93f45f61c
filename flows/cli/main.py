"""The `lycoris` command: a table of commands, one module each."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TextIO

import click

from flows.cli.command_line import CommandTable, refuse
from flows.cli.options import Arguments, option

COMMANDS = {
    "init": "make a project: data layout, experiment, deployments; git and DVC on request",
    "run": "train adapters on your images, score them against the base model, write a report",
    "captions": "review and correct the captions of a folder of images",
    "masks": "mask the subject of every image of a folder with a segmenter",
    "plan": "tell what an experiment takes of memory and compute before anything is loaded",
    "study": "answer a question by running the experiment that a study file describes",
    "vote": "compare the images of a study by your own eyes, and fit strengths to the votes",
    "recommend": "choose a setting from a finished study and state how certain the choice is",
    "refresh": "if the data changed, run again and compare the challenger with the champion",
    "data": "versions of the data: diff, push, pull, remove",
    "pull": "fetch the adapter file of a concept from the registry",
    "publish": "write the adapter of a concept with card, images and sidecars, or upload it to the hub",
    "rollback": "make the previous champion of a concept its champion again",
    "server": "run Prefect, MLflow and a worker on this machine",
    "convert": "rewrite an adapter file in another format or as a plain LoRA",
    "inspect": "describe an adapter file and what is odd about it",
    "merge": "make one adapter file of several",
    "resize": "rewrite an adapter file with a smaller rank",
    "bake": "write a checkpoint with adapters in its weights",
    "analyze": "analyse which choices affect the scores in a table",
    "score": "score adapter files or folders of images against their base model",
    "extract": "approximate the difference between two models by an adapter file",
    "import": "turn the configuration of another trainer into an experiment",
    "doctor": "check this machine and its installation, and say what to do",
    "completion": "print the completion script of a shell",
}
"""Command -> its line in `lycoris --help`, in that order; the module `flows.cli.<name>` is imported when it is named.

A command module defines ``PARAMETERS`` (click's) and ``run(arguments) -> int``; optionally ``DESCRIPTION`` and
``epilog()``, which is called only when the help of that command is printed, and ``ARGUMENT_NAMES``, argument of a
library function -> parameter of the command, where the two differ. One with subcommands has ``ACTIONS``, a table of
`flows.cli.options.Action`, in place of ``PARAMETERS``.
"""
COMPLETION_VARIABLE = "_LYCORIS_COMPLETE"
"""The environment variable by which a shell asks for completions."""

PIPE_CLOSED = 141
"""Exit status where nothing reads the output any more, as of a command that SIGPIPE ends."""

START = """\
begin with:
  lycoris run                                   the default experiment on the embedded toy base
  lycoris run --set data=photos --set base=...  your images: photos/<category>/<class>/*.jpg
  lycoris COMMAND --help                        options and examples of a command
"""


def build_parser() -> CommandTable:
    """Return the parser of the command line."""
    return CommandTable(
        COMMANDS,
        name="lycoris",
        help="Customize text-to-image models and measure what the customization did.",
        epilog=START,
        params=[
            option("-v", "--verbose", is_flag=True, help="show debug messages"),
            option("--quiet", is_flag=True, help="show only warnings and errors"),
            option(
                "--version",
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_print_version,
                help="show the version and exit",
            ),
        ],
    )


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from lycoris import __version__

        click.echo(f"lycoris {__version__}")
        context.exit()


def parse_arguments(argv: Sequence[str] | None = None) -> Arguments | int:
    """Parse a command line.

    Returns:
        The arguments of a command, with its function `run`; the exit status where help or the version was printed.

    Raises:
        InputError: A command, an option or a value is wrong.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        parsed: Arguments | int = build_parser().main(
            words, prog_name="lycoris", complete_var=COMPLETION_VARIABLE, standalone_mode=False
        )
        if isinstance(parsed, Arguments) and parsed.verbose and parsed.quiet:
            raise click.UsageError("Options `--verbose` and `--quiet` exclude each other.")
    except click.UsageError as error:
        refuse(error, words)
    return parsed


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program name. Default: those of the process.

    Returns:
        0 on success, 1 if a step failed, 2 for invalid input, 130 after Ctrl-C, 141 if nothing reads the output.
    """
    arguments: Arguments | int = 0
    try:
        arguments = parse_arguments(argv)
        if isinstance(arguments, int):
            return arguments
        _configure(arguments)
        status = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError as error:
        return PIPE_CLOSED if discard_closed_output() else _print_error(error, arguments)
    except KeyboardInterrupt:
        from flows.runtime.client_environment import RESUME_HINT

        print(f"\nlycoris: stopped. {RESUME_HINT}", file=sys.stderr)
        return 130
    except Exception as error:
        return _print_error(error, arguments)


def discard_closed_output() -> bool:
    """Let what is not yet written to a closed pipe go nowhere, so that it is no error at exit.

    Returns:
        Whether standard output or standard error is a pipe that nothing reads.
    """
    closed = [stream for stream in (sys.stdout, sys.stderr) if _is_closed_pipe(stream)]
    for stream in closed:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    return bool(closed)


def _is_closed_pipe(stream: TextIO) -> bool:
    import select

    poller = select.poll()
    poller.register(stream.fileno(), select.POLLOUT)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poller.poll(0))


def _configure(arguments: Arguments) -> None:
    from flows.runtime.client_environment import configure_environment, show_prefect_logs
    from flows.runtime.logging import NORMAL, QUIET, VERBOSE, configure_logging

    configure_environment()
    if arguments.verbose:
        show_prefect_logs()
    configure_logging(QUIET if arguments.quiet else VERBOSE if arguments.verbose else NORMAL)


def _print_error(error: Exception, arguments: Arguments | int) -> int:
    """Print an error, without secrets and control characters, in the options of the command; return the exit status."""
    import traceback

    from lycoris.errors import InputError
    from lycoris.safety.redaction import printable, redact

    if isinstance(error, InputError):
        message = str(error) if isinstance(arguments, int) else _in_words_of_the_command(str(error), arguments)
        print(f"lycoris: {printable(redact(message))}", file=sys.stderr)
        return 2
    print(printable(redact("".join(traceback.format_exception(error)))), file=sys.stderr)
    return 1


def _in_words_of_the_command(message: str, arguments: Arguments) -> str:
    """Return a message with the options of the command in place of arguments of Python functions."""
    from flows.cli.option_words import with_options

    module = sys.modules[arguments.run.__module__]
    return with_options(message, getattr(module, "PARAMETERS", ()), getattr(module, "ARGUMENT_NAMES", {}))
