"""From a folder of trials to the three files of its report."""

from importlib.util import find_spec
from pathlib import Path

from whatwhere.errors import RunError
from whatwhere.files import replace_file, way_out
from whatwhere.report.page import page
from whatwhere.report.plain import as_csv, as_markdown
from whatwhere.report.reading import read

__all__ = ["need", "report", "write"]


def report(folder: Path | str, out: Path | str | None = None) -> tuple[Path, Path, Path]:
    """Write what a folder of trials holds as a page, as Markdown and as CSV.

    The page is one HTML file: tables that sort, learning curves, accuracy against cost, what the gates did, recipe and
    provenance; it loads nothing. The others have the same figures without the drawings. Trials that are missing, torn
    or not to be believed are reported as what they are.

    Args:
        folder: what ``compare`` or ``reproduce`` wrote, finished or not.
        out: the HTML file, or a folder for report.html; None is ``folder`` itself. The others get its name with the
            endings .md and .csv.

    Returns:
        The files, in the order HTML, Markdown, CSV.

    Raises:
        RunError: ``folder`` is no such folder, or the files cannot be written.
    """
    folder, target = Path(folder), Path(folder if out is None else out)
    need("report", "jinja2", "scipy")
    html = target if target.suffix.lower() in (".html", ".htm") else target / "report.html"
    contents = read(folder)
    texts = {
        html: page(contents),
        html.with_suffix(".md"): as_markdown(contents),
        html.with_suffix(".csv"): as_csv(contents),
    }
    for path, text in texts.items():
        write("report", path, text)
    first, second, third = texts
    return first, second, third


def need(verb: str, *libraries: str) -> None:
    """See that these are installed.

    Raises:
        RunError: in the name of ``verb``.
    """
    missing = [library for library in libraries if find_spec(library) is None]
    if missing:
        raise RunError(f"{verb}: {', '.join(missing)} must be installed first", fix="pip install 'whatwhere[lab]'")


def write(verb: str, path: Path, text: str) -> None:
    """Write UTF-8 in one step, folders made where missing.

    Raises:
        RunError: the system refuses; in the name of ``verb``.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text.encode())
    except OSError as error:
        raise RunError(
            f"{verb}: cannot write '{path}': {error.strerror or error}",
            fix=way_out(error) or "name another place with --out (out=)",
        ) from error
