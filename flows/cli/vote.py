"""`lycoris vote`: compare the images of a study by your own eyes."""

from __future__ import annotations

import contextlib

from flows.cli.options import JSON, PATH, Arguments, argument, option
from flows.cli.output import print_json, print_lines
from lycoris.errors import InputError

DESCRIPTION = """\
Serve a page on this machine that shows two images of one prompt and seed at a time, of two settings of a finished
study, blind and on shuffled sides. Answer by a click, a touch or the arrow keys. Votes are kept in the study's folder;
the same command goes on where the last session ended. At the end, the settings' strengths are printed with intervals,
and which metrics agree with the votes; the strengths are a score of the study like any other, `human_preference`.

  lycoris vote runs/pocket
  lycoris vote runs/pocket --voter ann --pairs 100
  lycoris vote runs/pocket --results
"""
PARAMETERS = (
    argument("study", type=PATH, help="the folder of a finished study (runs/NAME)"),
    option("--pairs", type=int, default=60, metavar="N", help="end after N votes of this voter (60)"),
    option("--voter", default="", metavar="NAME", help="who votes; intervals are over voters where five or more do"),
    option("--seed", type=int, default=0, metavar="N", help="of the order of pairs and of their sides (0)"),
    option("--port", type=int, default=0, metavar="N", help="to listen on, loopback only (a free one)"),
    option("--results", is_flag=True, help="print the results of the votes so far, and stop"),
    JSON,
)


def run(arguments: Arguments) -> int:
    """Serve the page until every pair is answered or Ctrl-C, then print the results."""
    from flows.studies.votes.results import vote_results, write_preference_scores

    folder = arguments.study
    if arguments.pairs < 1:
        raise InputError(f"Option `--pairs` must be at least 1, but got {arguments.pairs}.")
    if arguments.seed < 0:
        raise InputError(f"Option `--seed` must be at least 0, but got {arguments.seed}.")
    if not arguments.results and not _serve(arguments):
        print_lines(["no votes"])
        return 0
    results = vote_results(folder)
    table = write_preference_scores(folder, results)
    print_lines([*results.lines(), *([] if table is None else [f"scores    {table}"])])
    if arguments.json:
        print_json(results.as_json())
    return 0


def _serve(arguments: Arguments) -> int:
    """Serve the page, and return how many votes the study has."""
    from filelock import FileLock, Timeout

    from flows.studies.votes.server import VoteServer
    from flows.studies.votes.session import VotingSession

    lock = FileLock(arguments.study / ".votes.lock", timeout=0)
    try:
        with lock:
            session = VotingSession(arguments.study, voter=arguments.voter, seed=arguments.seed, wanted=arguments.pairs)
            if session.file.incomplete:
                print_lines([f"{session.file.incomplete} incomplete lines of `{session.file.path}` are left out"])
            with VoteServer(session, arguments.port) as server:
                print_lines([f"open      {server.address}", "Press end on the page, or Ctrl-C here, to stop."])
                with contextlib.suppress(KeyboardInterrupt):
                    server.finished.wait()
            return len(session.file.votes)
    except Timeout:
        raise InputError(f"Another session votes on `{arguments.study}` at the moment.") from None
    except OSError as error:
        raise InputError(f"Folder `{arguments.study}` cannot be used: {error.strerror}.") from error
