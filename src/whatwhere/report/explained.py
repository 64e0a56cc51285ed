"""The page that shows what networks look at: one HTML file that needs nothing else."""

from whatwhere.explain.explanation import Explanation
from whatwhere.report.embedded import embedded
from whatwhere.report.encoded import thumbnail
from whatwhere.report.judged import diagnoses_table, score_tables
from whatwhere.report.templating import as_data, as_unicode, digest, jinja, source

__all__ = ["page"]


def page(explanation: Explanation) -> str:
    """Render the page; texts are escaped, and a policy forbids all scripts but its own and the whole network.

    Names that are not UTF-8 are shown with replacement characters, so the text can always be written as UTF-8.
    A picture of 224 pixels with one ResNet-50 with CBAM takes about 60 kB.
    """
    from whatwhere import __version__

    script = source("script.js", "maps.js", "explained.js")
    template = jinja().get_template("explained.html")
    rendered: str = template.render(
        explanation=explanation,
        thumbnails=[thumbnail(shown.pixels) for shown in explanation.pictures],
        scores=score_tables([(network.name, network.scores) for network in explanation.networks]),
        diagnoses=[
            (network, diagnoses_table(network.name, network.diagnoses))
            for network in explanation.networks
            if network.diagnoses
        ],
        data=as_data(embedded(explanation)),
        script=script,
        digest=digest(script),
        style=source("style.css", "explained.css"),
        version=__version__,
    )
    return as_unicode(rendered)
