"""The parser of the command line: click's, with a command's module imported when the command is named."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from types import ModuleType
from typing import Any, NoReturn, cast

import click

from flows.cli.options import Action, Arguments

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 120}
"""Of click's contexts: the names of the help option, and the widest help in characters."""


class Command(click.Command):
    """A command that returns its arguments, and whose description and epilog are shown as they are.

    The epilog is built when help is printed, because listing options imports their records.
    """

    build_epilog: Callable[[], str] | None = None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse arguments; an option in place of another's value is an error."""
        options = {name: each for each in self.get_params(ctx) for name in each.opts if name.startswith("-")}
        for name, value in pairwise(args):
            if value in options and name in options and not getattr(options[name], "is_flag", False):
                raise click.UsageError(f"Option `{name}` needs a value, but is followed by the option `{value}`.", ctx)
        return super().parse_args(ctx, args)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the description."""
        if self.help:
            formatter.write(f"\n{self.help.strip()}\n")

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the epilog."""
        if self.build_epilog is not None:
            formatter.write(f"\n{self.build_epilog()}\n")


class CommandTable(click.Group):
    """The commands of a table, each built from its module when it is named; the overview needs the table alone."""

    def __init__(self, summaries: Mapping[str, str], **settings: Any) -> None:
        super().__init__(context_settings=SETTINGS, no_args_is_help=False, **settings)
        self.summaries = summaries

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands in the order of the table."""
        return list(self.summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command and build its parser."""
        if cmd_name not in self.summaries:
            return None
        return _build_command(cmd_name, importlib.import_module(f"flows.cli.{cmd_name}"), self.summaries[cmd_name])

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.summaries.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the epilog as it is."""
        if self.epilog:
            formatter.write(f"\n{self.epilog}")


def _build_command(name: str, module: ModuleType, summary: str) -> click.Command:
    actions: Mapping[str, Action] | None = getattr(module, "ACTIONS", None)
    if actions is not None:
        group = click.Group(
            name,
            help=summary,
            no_args_is_help=False,
            context_settings=SETTINGS,
            subcommand_metavar="ACTION [ARGS]...",
        )
        for action_name, action in actions.items():
            group.add_command(_command(action_name, action.help, action.parameters, module.run, action.run))
        return group
    command = _command(name, getattr(module, "DESCRIPTION", f"{summary}\n"), module.PARAMETERS, module.run)
    command.build_epilog = getattr(module, "epilog", None)
    return command


def _command(
    name: str,
    description: str,
    parameters: Sequence[click.Parameter],
    run: Callable[[Arguments], int],
    action: Callable[[Arguments], None] | None = None,
) -> Command:
    @click.pass_context
    def collect(context: click.Context, /, **values: Any) -> Arguments:
        return Arguments(**context.find_root().params, **values, run=run, action=action)

    return Command(name, params=list(parameters), help=description, callback=collect, context_settings=SETTINGS)


def commands_of(group: click.Group) -> Iterator[tuple[str, click.Command]]:
    """Yield the commands of a group and of the groups in it, with the words that call them."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = cast(click.Command, group.get_command(context, name))
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {action}", each) for action, each in commands_of(command))


def help_text(command: click.Command, words: str = "lycoris") -> str:
    """Return what ``--help`` prints for a command that is called by the given words."""
    return command.get_help(click.Context(command, info_name=words, **cast(Any, SETTINGS)))


def refuse(error: click.UsageError, argv: Sequence[str]) -> NoReturn:
    """Raise `InputError` for a wrong command line: what is wrong, the nearest name, or how an option is set."""
    from lycoris.errors import InputError, unknown_name_error

    words = error.ctx.command_path if error.ctx is not None else "lycoris"
    if isinstance(error, click.NoSuchCommand) and error.ctx is not None:
        group = cast(click.Group, error.ctx.command)
        raise unknown_name_error("command", error.command_name, group.list_commands(error.ctx)) from None
    message = error.format_message()
    if isinstance(error, click.NoSuchOption) and error.ctx is not None:
        known = [name for each in error.ctx.command.get_params(error.ctx) for name in each.opts if name[0] == "-"]
        hint = _experiment_hint(error.option_name, argv)
        message = f"{error.message} {hint}" if hint else str(unknown_name_error("option", error.option_name, known))
    raise InputError(f"{message} See `{words} --help`.") from None


def _experiment_hint(option: str, argv: Sequence[str]) -> str | None:
    """How an option of an experiment or of an adapter is set; None where `option` names neither."""
    from flows.config.adapter import ADAPTER_HINT, AdapterConfig
    from flows.config.experiment import Experiment

    name = option.lstrip("-").replace("-", "_")
    following = (
        part.partition("=")[2] or next(iter(argv[index + 1 : index + 2]), "")
        for index, part in enumerate(argv)
        if part.partition("=")[0] == option
    )
    value = next(following, "")
    if name.partition(".")[0] in Experiment.model_fields:
        shown = value if value and not value.startswith("-") else "..."
        return f"An option of an experiment is set with `--set {name}={shown}`."
    return ADAPTER_HINT.format(name) if name in AdapterConfig.model_fields else None
