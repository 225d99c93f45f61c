"""The `lycoris` command: a table of subcommands, one module each."""

from __future__ import annotations

import argparse
import importlib
import re
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from flows.runtime.logging import NORMAL, QUIET, VERBOSE, configure_logging
from flows.runtime.prefect_server import RESUME_HINT, configure_environment, show_prefect_logs
from lycoris.errors import InputError, unknown_name_error
from lycoris.safety.redaction import printable, redact

COMMANDS = (
    "run",
    "captions",
    "study",
    "recommend",
    "refresh",
    "data",
    "pull",
    "rollback",
    "server",
    "convert",
    "analyze",
    "score",
    "extract",
    "import",
)
"""The subcommands in the order of `lycoris --help`; the module `flows.cli.<name>` holds each one.

A command module defines ``HELP`` (one line), ``add_arguments(parser)`` and ``run(arguments) -> int``; optionally
``DESCRIPTION`` and ``epilog()``, which is called only when the help of that command is printed.
"""


class CommandParser(argparse.ArgumentParser):
    """A parser that builds its epilog when help is printed, because listing options imports their records.

    Its errors quote arguments, such as names of files, with control characters escaped.
    """

    build_epilog: Callable[[], str] | None = None

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(2, f"{self.prog}: {printable(explain_usage(message))}\n")

    def format_help(self) -> str:
        if self.build_epilog is not None:
            self.epilog = self.build_epilog()
        return super().format_help()

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Print a message and end the process."""
        super().exit(status, None if message is None else printable(redact(message)))


def explain_usage(message: str) -> str:
    """Return a message of argparse with a hint: the nearest command, or how an option of an experiment is set."""
    if match := re.match(r"argument COMMAND: invalid choice: '(.*?)' \(", message):
        return str(unknown_name_error("command", match[1], COMMANDS))
    if match := re.match(r"unrecognized arguments: --([\w.-]+)(?:[= ](\S+))?", message):
        from flows.config.adapter import ADAPTER_HINT, AdapterConfig
        from flows.config.experiment import Experiment

        name, value = match[1].replace("-", "_"), match[2] or "..."
        if name.partition(".")[0] in Experiment.model_fields:
            return f"{message}. An option of an experiment is set with `--set {name}={value}`."
        if name in AdapterConfig.model_fields:
            return f"{message}. {ADAPTER_HINT.format(name)}"
    return message


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program name. Default: those of the process.

    Returns:
        0 on success, 1 if a step failed, 2 for invalid input, 130 after Ctrl-C.
    """
    configure_environment()
    arguments = build_parser().parse_args(argv)
    if arguments.verbose:
        show_prefect_logs()
    configure_logging(QUIET if arguments.quiet else VERBOSE if arguments.verbose else NORMAL)
    try:
        return arguments.run(arguments)
    except InputError as error:
        print(f"lycoris: {printable(redact(str(error)))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nlycoris: stopped. {RESUME_HINT}", file=sys.stderr)
        return 130
    except Exception:
        print(printable(redact(traceback.format_exc())), file=sys.stderr)
        return 1


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line, with a subparser for each of `COMMANDS`."""
    parser = CommandParser(
        prog="lycoris", description="Customize text-to-image models and measure what the customization did."
    )
    detail = parser.add_mutually_exclusive_group()
    detail.add_argument("-v", "--verbose", action="store_true", help="show debug messages")
    detail.add_argument("--quiet", action="store_true", help="show only warnings and errors")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=CommandParser)
    for name in COMMANDS:
        module = importlib.import_module(f"flows.cli.{name}")
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=getattr(module, "DESCRIPTION", None),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.build_epilog = getattr(module, "epilog", None)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser
