"""`whatwhere report` as a person meets it."""

import pytest
from made_runs import made_run

from whatwhere.cli.report import Report
from whatwhere.errors import RunError


def test_it_says_where_the_files_are(tmp_path, capsys):
    made_run(tmp_path / "run")
    assert Report(tmp_path / "run", tmp_path / "page.html").run() == 0
    assert capsys.readouterr().out.splitlines() == [f"{tmp_path}/page.{ending}" for ending in ("html", "md", "csv")]


def test_it_refuses_what_is_no_run(tmp_path):
    with pytest.raises(RunError, match="there is no such folder"):
        Report(tmp_path / "nowhere").run()


def test_its_libraries_are_named_when_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("whatwhere.report.writing.find_spec", lambda name: None)
    with pytest.raises(RunError) as error:
        Report(tmp_path).run()
    assert str(error.value) == "report: jinja2, scipy must be installed first\n  fix: pip install 'whatwhere[lab]'"
