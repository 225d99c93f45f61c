"""Blind votes: pairs, the file of votes, results, the score that they become, and the page's server."""

from __future__ import annotations

import http.client
import json
from collections import Counter

import pytest
from PIL import Image

from flows.cli.main import main
from flows.studies.votes.pairs import StudyPairs
from flows.studies.votes.results import adapter_strengths, vote_results, write_preference_scores
from flows.studies.votes.server import TOKEN_HEADER, VoteServer
from flows.studies.votes.session import VotingSession
from flows.studies.votes.vote_file import VoteFile
from lycoris.analysis.io.reading import read_table
from lycoris.errors import InputError
from tests.flows.studies.votes.conftest import SETTINGS


def quality(setting: str) -> float:
    return SETTINGS[setting.split(" · ")[0]]


def vote_all(folder, *, wanted=24, voter="", seed=0, ties=False):
    """Prefer the better setting in every pair; the sides that won."""
    session = VotingSession(folder, voter=voter, seed=seed, wanted=wanted)
    sides = []
    while (pair := session.progress.pair) is not None:
        better = "left" if quality(pair.left.setting) > quality(pair.right.setting) else "right"
        sides.append("tie" if ties else better)
        assert session.answer(pair.id, sides[-1])
    return sides


def test_pairs_differ_in_the_setting_alone_on_balanced_and_shuffled_sides(study):
    pairs = StudyPairs(study, seed=1)
    assert len(pairs) == 3 * 2 * 4
    shown = []
    while (pair := pairs.next_pair(shown)) is not None:
        shown.append(pair)
        images = [Image.open(side.image) for side in (pair.left, pair.right)]
        assert images[0].getpixel((0, 0))[1] == images[1].getpixel((0, 0))[1]  # of one prompt
        assert pair.left.adapter.split("-")[0] == pair.right.adapter.split("-")[0] == pair.concept
        assert pair.left.setting != pair.right.setting
    assert len({pair.id for pair in shown}) == 24
    counts = Counter(tuple(sorted((pair.left.setting, pair.right.setting))) for pair in shown[:12])
    assert set(counts.values()) == {4}
    first = [pair.left.setting < pair.right.setting for pair in shown]
    assert 6 <= sum(first) <= 18
    assert [StudyPairs(study, seed=1).next_pair(shown[:n]) for n in (0, 5)] == [shown[0], shown[5]]
    assert StudyPairs(study, seed=2).next_pair([]) != shown[0]


def test_a_session_goes_on_where_it_ended_and_undo_shows_the_last_pair_again(study):
    session = VotingSession(study, wanted=3)
    first = session.progress.pair
    assert not session.answer("another", "left")
    assert not session.answer(first.id, "best")
    assert session.answer(first.id, "tie")
    second = session.progress.pair
    again = VotingSession(study, wanted=3)
    assert (again.progress.done, again.progress.pair) == (1, second)
    assert again.undo()
    assert (again.progress.done, again.progress.pair) == (0, first)
    assert not again.undo()
    assert VoteFile(study).votes == []
    assert len((study / "votes.jsonl").read_text().splitlines()) == 2  # only ever appended to


def test_a_line_that_was_cut_off_is_left_out_and_the_next_vote_is_whole(study):
    vote_all(study, wanted=2)
    file = study / "votes.jsonl"
    file.write_bytes(file.read_bytes()[:-20])
    assert (len(VoteFile(study).votes), VoteFile(study).incomplete) == (1, 1)
    vote_all(study, wanted=3)
    assert (len(VoteFile(study).votes), VoteFile(study).incomplete) == (3, 1)


@pytest.mark.parametrize("line", ['{"answer": "left"}', "[1]", '{"undo": 1}'])
def test_a_line_that_is_no_vote_is_an_error_that_names_it(study, line):
    (study / "votes.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match="line 1, is no vote"):
        VoteFile(study)


def test_a_link_in_the_place_of_the_votes_is_an_error(study, tmp_path_factory):
    (study / "votes.jsonl").symlink_to(tmp_path_factory.mktemp("other") / "file")
    with pytest.raises(InputError, match="link"):
        VoteFile(study)


def test_votes_give_strengths_and_tell_which_metrics_agree(study):
    vote_all(study)
    results = vote_results(study)
    assert [one.name.split(" · ")[0] for one in results.strengths.settings] == list(SETTINGS)
    verdicts = {one.name.split("/")[0]: one for one in results.metrics}
    assert verdicts["image_similarity"].verdict == "agrees"
    assert verdicts["recall"].verdict == "disagrees"
    assert verdicts["image_similarity"].agreement == 1.0
    assert verdicts["image_similarity"].pairs == 6
    assert next(line for line in results.lines() if "image_similarity" in line).strip().startswith("agrees")


def test_ties_decide_nothing(study):
    vote_all(study, ties=True)
    results = vote_results(study)
    assert all(abs(one.value) < 1e-6 for one in results.strengths.settings)
    assert results.metrics == []


def test_preference_is_a_score_like_any_other(study):
    vote_all(study)
    for _ in range(2):  # the second time in place of the first
        write_preference_scores(study, vote_results(study))
    table = read_table(study / "scores.csv")
    assert "human_preference" in table.measures
    assert table.measures["human_preference"].dimension == "preference"
    values = table.scores["human_preference"]
    assert values.notna().all()
    assert len(values) == 6
    best = table.rows.loc[values.idxmax(), "algorithm"]
    assert best == "lora"
    strengths = adapter_strengths(VoteFile(study).votes)
    assert sorted(values) == pytest.approx(sorted(strengths.values()))


def test_the_command_prints_results_and_recommend_and_analyze_read_them(study, capsys):
    assert main(["vote", str(study), "--results"]) == 2
    assert "at least one vote" in capsys.readouterr().err
    vote_all(study)
    assert main(["vote", str(study), "--results", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert json.loads(lines[-1])["votes"] == 24
    assert lines[0].startswith("24 votes of 1 voter")
    assert main(["analyze", str(study / "scores.csv"), "--out", str(study / "analysis")]) == 0
    assert "human_preference" in (study / "analysis" / "ranks.csv").read_text()
    assert main(["recommend", str(study)]) == 0
    assert "preference" in capsys.readouterr().out


@pytest.mark.parametrize(("option", "message"), [("--pairs=0", "--pairs"), ("--seed=-1", "--seed")])
def test_options_out_of_range_are_errors(study, capsys, option, message):
    assert main(["vote", str(study), option]) == 2
    assert message in capsys.readouterr().err


def test_a_study_with_one_setting_has_nothing_to_compare(study):
    record = json.loads((study / "study.json").read_text())
    record["adapters"] = record["adapters"][:1]
    (study / "study.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="nothing to compare"):
        StudyPairs(study)


@pytest.fixture
def server(study):
    with VoteServer(VotingSession(study, wanted=2)) as running:
        yield running


def ask(server, method, path, body=None, headers=None, *, token=True):
    """Status, headers and body of an answer."""
    port = int(server.address.split(":")[2].split("/")[0])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    fields = {TOKEN_HEADER: server.token} if token else {}
    data = None if body is None else json.dumps(body)
    fields |= {} if body is None else {"Content-Type": "application/json"}
    connection.request(method, path, data, {**fields, **(headers or {})})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.headers, content


def test_the_page_is_blind_and_its_requests_store_votes(server, study):
    status, headers, page = ask(server, "GET", "/", token=False)
    assert status == 200
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert server.token not in page.decode()
    state = json.loads(ask(server, "GET", "/api/state")[2])
    assert (state["done"], state["wanted"]) == (0, 2)
    assert set(state["pair"]) == {"id", "prompt", "concept"}
    for side in ("left", "right"):
        status, headers, image = ask(server, "GET", f"/api/image/{state['pair']['id']}/{side}")
        assert (status, headers["Content-Type"], image[:4]) == (200, "image/png", b"\x89PNG")
    answer = {"pair": state["pair"]["id"], "answer": "left"}
    assert ask(server, "POST", "/api/vote", answer)[0] == 200
    assert ask(server, "POST", "/api/vote", answer)[0] == 409  # a second click
    assert len(VoteFile(study).votes) == 1
    assert json.loads(ask(server, "POST", "/api/undo", {})[2])["done"] == 0
    assert not server.finished.is_set()
    assert ask(server, "POST", "/api/end", {})[0] == 200
    assert server.finished.is_set()


@pytest.mark.parametrize(
    ("method", "path", "headers", "token", "status"),
    [
        ("GET", "/api/state", {}, False, 403),
        ("GET", "/api/state", {TOKEN_HEADER: "x"}, False, 403),
        ("GET", "/api/state", {"Host": "attacker.example"}, True, 403),
        ("GET", "/", {"Host": "attacker.example"}, False, 403),
        ("POST", "/api/vote", {"Origin": "http://attacker.example"}, True, 403),
        ("POST", "/api/vote", {"Origin": "null"}, True, 403),
        ("POST", "/api/vote", {"Content-Type": "text/plain"}, True, 400),
        ("POST", "/api/vote", {"Content-Length": "999999"}, True, 400),
        ("POST", "/api/other", {}, True, 404),
        ("GET", "/api/image/x/left", {}, True, 404),
        ("GET", "/../../etc/passwd", {}, True, 404),
        ("PUT", "/api/state", {}, True, 501),
    ],
)
def test_other_requests_are_refused_and_store_nothing(server, study, method, path, headers, token, status):
    body = {"pair": "x", "answer": "left"} if method == "POST" else None
    assert ask(server, method, path, body, headers, token=token)[0] == status
    assert not (study / "votes.jsonl").exists()


def test_an_image_path_of_another_pair_or_side_is_not_served(server):
    pair = server.state()["pair"]
    for path in (f"/api/image/{pair['id']}/both", f"/api/image/{pair['id']}/left/..", "/api/image//left"):
        assert ask(server, "GET", path)[0] == 404
