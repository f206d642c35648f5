"""HTML of a report: escaped text, tables and figures, in one file.

The page forbids itself every request (Content-Security-Policy), has no script, and follows the
reader's light or dark setting.
"""

import importlib.resources
from collections.abc import Sequence
from html import escape

from jax_avemo.report.figures import Panel, as_svg

_STYLE = importlib.resources.files(__package__).joinpath("style.css").read_text()
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def headline(words: str, beside: str) -> str:
    """The figure that a reader came for, and what it has to be compared with."""
    return f'<p class="headline">{escape(words)} <small>{escape(beside)}</small></p>'


def text(words: object, kind: str = "p", css: str = "") -> str:
    """A paragraph (or another element) of plain words."""
    named = f' class="{css}"' if css else ""
    return f"<{kind}{named}>{escape(str(words))}</{kind}>"


def table(header: Sequence[str], rows: Sequence[Sequence[object]], caption: str = "") -> str:
    """A table; numbers to the right, long words broken. On a phone wide ones stand row by row."""

    def is_text(value: object) -> bool:
        return len(str(value)) > 28 or ", " in str(value)

    def cell(value: object, place: int) -> str:
        words = str(value)
        css = ' class="text"' if place and is_text(value) else ""
        label = f' data-label="{escape(header[place])}"' if stacked and place else ""
        return f"<td{css}{label}>{escape(words)}</td>"

    texts = any(is_text(value) for row in rows for value in row[1:])
    stacked = len(header) > (3 if texts else 4)
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(
        "<tr>" + "".join(cell(value, place) for place, value in enumerate(row)) + "</tr>"
        for row in rows
    )
    said = f"<caption><span>{escape(caption)}</span></caption>" if caption else ""
    top = f"<thead><tr>{head}</tr></thead>" if any(header) else ""
    css = ' class="stacked"' if stacked else ""
    return f'<div class="wide"><table{css}>{said}{top}<tbody>{body}</tbody></table></div>'


def figure(panels: Panel | Sequence[Panel], caption: str) -> str:
    """Panels, side by side where there is room, and what they show."""
    shown = [panels] if isinstance(panels, Panel) else panels
    drawn = "".join(
        as_svg(panel).replace("<svg ", f'<svg aria-label="{escape(panel.title)}" ', 1)
        for panel in shown
    )
    said = f"<figcaption>{escape(caption)}</figcaption>"
    return f'<figure><div class="panels">{drawn}</div>{said}</figure>'


def commands(lines: Sequence[str]) -> str:
    """What to type."""
    return "<pre>" + escape("\n".join(lines)) + "</pre>"


def folded(summary: str, body: str) -> str:
    """Something long that opens on request."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def page(title: str, lead: str, sections: Sequence[tuple[str, str]]) -> str:
    """The whole file: a title, what stands at its top, and sections (heading, HTML)."""
    links = "".join(
        f'<a href="#s{number}">{escape(heading)}</a> '
        for number, (heading, _) in enumerate(sections)
    )
    body = "".join(
        f'<section><h2 id="s{number}">{escape(heading)}</h2>{content}</section>'
        for number, (heading, content) in enumerate(sections)
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(title)}</h1>{lead}<nav>{links}</nav>{body}</body></html>\n"
    )
