"""HTML of a report: escaped text, tables and figures, in one file.

The page forbids itself every request (Content-Security-Policy), has no script, and follows the
reader's light or dark setting.
"""

from collections.abc import Sequence
from html import escape

from jax_avemo.report.figures import Panel, as_svg

_STYLE = """
:root { color-scheme: light dark; --paper: #fdfdfb; --ink: #1c1d20; --soft: #5d616b;
  --line: #d9dade; --tint: #f1f2f4; --warn: #fff2cc; --mark: #4477aa; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181c; --ink: #e8e9ec; --soft: #a2a7b3;
  --line: #383b43; --tint: #20232a; --warn: #4a3b0c; --mark: #8cb8e8; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 62rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .6rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; border-top: 1px solid var(--line);
  padding-top: 1rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; }
p, li { max-width: 44rem; }
.soft, figcaption { color: var(--soft); font-size: .88rem; }
.warn { background: var(--warn); padding: .5rem .8rem; border-radius: .4rem; font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .5rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); font-size: .88rem; padding-bottom: .3rem; }
caption span { display: block; position: sticky; left: 0; width: fit-content;
  max-width: min(44rem, calc(100vw - 3rem)); }
th, td { padding: .25rem .7rem .25rem 0; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
td.text { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 8rem; }
pre { background: var(--tint); padding: .7rem; border-radius: .4rem; overflow-x: auto;
  font-size: .85rem; }
figure { margin: .8rem 0; }
.panels { display: flex; flex-wrap: wrap; gap: 1rem 1.5rem; align-items: flex-start; }
.panels svg { flex: 1 1 23rem; min-width: 0; }
.headline { font-size: 1.9rem; font-weight: 700; line-height: 1.2; margin: .4rem 0; }
.headline small { font-size: 1rem; font-weight: 400; color: var(--soft); }
nav a { margin-right: .9rem; white-space: nowrap; }
a { color: var(--mark); }
summary { cursor: pointer; color: var(--mark); }
svg { height: auto; display: block; }
@media (max-width: 36rem) { body { padding: .7rem; } h1 { font-size: 1.3rem; }
  th, td { white-space: normal; padding-right: .5rem; }
  td:first-child { white-space: nowrap; }
  .stacked td:first-child { white-space: normal; overflow-wrap: anywhere; }
  .stacked thead { display: none; }
  .stacked, .stacked tbody, .stacked tr, .stacked caption { display: block; }
  .stacked tr { border-bottom: 1px solid var(--line); padding: .4rem 0; }
  .stacked td, .stacked td.text { display: flex; justify-content: space-between; gap: 1rem;
    border: 0; padding: .1rem 0; text-align: right; min-width: 0; }
  .stacked td:first-child { font-weight: 600; }
  .stacked td:not(:first-child)::before { content: attr(data-label); color: var(--soft);
    text-align: left; } }
@media print { body { max-width: none; } details { display: block; } }
"""
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

    def cell(value: object, place: int) -> str:
        words = str(value)
        css = ' class="text"' if place and (len(words) > 28 or ", " in words) else ""
        label = f' data-label="{escape(header[place])}"' if stacked and place else ""
        return f"<td{css}{label}>{escape(words)}</td>"

    stacked = len(header) > 4

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
