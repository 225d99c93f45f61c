"""`lycoris completion`: print the completion script of a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from flows.cli.options import Arguments, argument

DESCRIPTION = """\
Print a script that completes commands, options, names of studies and files.

  bash   eval "$(lycoris completion bash)"                   in ~/.bashrc
  zsh    eval "$(lycoris completion zsh)"                    in ~/.zshrc
  fish   lycoris completion fish > ~/.config/fish/completions/lycoris.fish
"""
PARAMETERS = (argument("shell", type=click.Choice(("bash", "zsh", "fish")), help="the shell"),)


def run(arguments: Arguments) -> int:
    """Print the script."""
    from flows.cli.main import COMPLETION_VARIABLE, build_parser

    completion = get_completion_class(arguments.shell)
    assert completion is not None
    click.echo(completion(build_parser(), {}, "lycoris", COMPLETION_VARIABLE).source())
    return 0
