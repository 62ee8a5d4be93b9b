"""The templates of the page, of its Markdown and of cohort flows, in ``templates/``."""

from typing import Final

import jinja2

from medhmp.report.section import of_words

TEMPLATES: Final = jinja2.Environment(
    loader=jinja2.PackageLoader("medhmp.report"),
    autoescape=jinja2.select_autoescape(("html.j2", "svg.j2")),
    undefined=jinja2.StrictUndefined,
    keep_trailing_newline=True,
)
TEMPLATES.filters["of_words"] = lambda table: of_words(table.columns, table.groups)
TEMPLATES.filters["cell"] = lambda text: text.replace("|", r"\|")
