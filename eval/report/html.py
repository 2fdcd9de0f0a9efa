"""The shell of the report page: style, headings, tables, folds. Knows HTML and nothing of what is reported."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from eval.report.tree import TREE_CSS


def page(title: str, subtitle: str, parts: Sequence[str]) -> str:
    """The whole document; `parts` are HTML, `title` and `subtitle` plain text."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>{CSS}{TREE_CSS}</style></head>\n<body><main>"
        f'<header class="top"><h1>{escape(title)}</h1><p>{escape(subtitle)}</p></header>\n'
        + "\n".join(part for part in parts if part)
        + "\n</main></body></html>\n"
    )


def section(name: str, title: str, body: str) -> str:
    """A part of the page under its heading; `name` is its anchor."""
    return f'<section id="{name}"><h2>{title}</h2>{body}</section>'


def fold(title: str, body: str) -> str:
    """What only some want to see."""
    return f"<details><summary>{title}</summary>{body}</details>"


def table(
    caption: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    muted: Sequence[Sequence[str]] = (),
    about: str = "",
) -> str:
    """A table of HTML cells, the first of a row its name; `muted` rows follow under the subheading `about`."""

    def lines(cells: Sequence[Sequence[str]]) -> str:
        return "".join(
            f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>' for row in cells
        )

    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = f"<tbody>{lines(rows)}</tbody>"
    if muted:
        body += (
            f'<tbody class="muted"><tr class="about"><th colspan="{len(heads)}">{about}</th></tr>{lines(muted)}</tbody>'
        )
    return f'<div class="wide"><table><caption>{caption}</caption><thead><tr>{head}</tr></thead>{body}</table></div>'


POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""What a browser lets the page do, should anything in it be more than text: run nothing, fetch nothing."""
CSS = """
:root { --ink: #1d2733; --muted: #5b6675; --line: #d9dfe6; --blue: #0072b2; --orange: #d55e00;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  --mono: ui-monospace, "SF Mono", Menlo, Consolas, monospace; color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #f4f6f8; color: var(--ink); font: 16px/1.5 var(--sans); }
main { max-width: 1120px; margin: 0 auto; padding: 36px 40px 60px; background: #fff; }
h1 { font-size: 30px; line-height: 1.2; margin: 0; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 22px; margin: 44px 0 8px; padding-top: 18px; border-top: 2px solid var(--ink); }
h3 { font-size: 16px; margin: 26px 0 6px; }
.top p, .note, .id { color: var(--muted); }
.top p { margin: 4px 0 0; }
.note { margin: 0 0 12px; max-width: 860px; }
.lead { font-size: 17px; max-width: 860px; margin-top: 18px; }
svg { max-width: 100%; height: auto; display: block; }
svg text { font-family: var(--sans) !important; }
svg.clip text { font-size: 11px; fill: var(--muted); }
svg.clip text.name { font-size: 12px; fill: var(--ink); }
.panel { fill: #f6f8fa; }
.grid { stroke: #dfe4ea; fill: none; }
.wave { fill: #4b5a6b; stroke: #4b5a6b; stroke-width: 0.6; }
.pitch { fill: none; stroke: var(--orange); stroke-width: 2.2; stroke-linecap: round; stroke-linejoin: round; }
.hero { display: grid; grid-template-columns: 1.9fr 1fr; gap: 10px 22px; margin: 20px 0 0; padding: 18px;
  background: #f4f7fa; border-radius: 10px; align-items: start; }
.hero .tree { background: #fff !important; }
.hero blockquote { margin-top: 10px; }
.hero figcaption { grid-column: 1 / -1; font-size: 14px; color: var(--muted); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 12px; }
.tile { border: 1px solid var(--line); border-radius: 10px; padding: 12px 14px; }
.tile h3 { margin: 0; font-size: 14px; }
.tile .big { font-size: 38px; font-weight: 700; line-height: 1.15; color: var(--blue);
  font-variant-numeric: tabular-nums; }
.tile svg { width: 100%; height: 14px; margin: 2px 0 6px; }
.track { fill: #e6ebf0; } .fill { fill: #7fb8dc; }
.whisker { stroke: var(--ink); fill: none; vector-effect: non-scaling-stroke; stroke-width: 1.4; }
.tick { stroke: var(--orange); fill: none; vector-effect: non-scaling-stroke; stroke-width: 2.5; }
.tile ul { list-style: none; margin: 0; padding: 0; font-size: 13px; font-variant-numeric: tabular-nums; }
.tile li, .beside li { display: flex; justify-content: space-between; gap: 8px; }
.tile li { color: var(--muted); } .tile li span { color: var(--ink); white-space: nowrap; }
.beside { display: flex; flex-wrap: wrap; gap: 10px 20px; align-items: center; }
.beside h4 { margin: 0 0 6px; }
.beside ol { list-style: none; padding: 0; margin: 0; font-size: 14px; width: 255px; }
.beside li { border-bottom: 1px solid var(--line); padding: 3px 0; }
.beside li span { color: var(--muted); white-space: nowrap; }
.tile p { margin: 6px 0 0; font-size: 12.5px; line-height: 1.35; color: var(--muted); }
.wide { overflow-x: auto; margin: 18px 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 700; padding-bottom: 4px; }
th, td { padding: 6px 10px; text-align: right; vertical-align: top; border-bottom: 1px solid var(--line); }
th:first-child { text-align: left; font-weight: 600; }
thead th { font-size: 13px; color: var(--muted); font-weight: 600; border-bottom: 1.5px solid var(--ink);
  vertical-align: bottom; }
td small, th small { display: block; font-size: 12px; font-weight: 400; color: var(--muted); line-height: 1.3;
  white-space: nowrap; }
td b { background: #e3f0f8; border-radius: 4px; padding: 1px 5px; margin-right: -5px; }
.muted td, .muted th { color: var(--muted); font-weight: 400; }
.muted .about th { padding-top: 12px; font-size: 13px; font-weight: 600; }
.none { color: #8a94a1; }
details { margin: 10px 0; } summary { cursor: pointer; color: var(--blue); font-size: 14px; }
pre { background: #f4f6f8; padding: 10px 12px; border-radius: 6px; font: 13px/1.45 var(--mono); white-space: pre-wrap;
  overflow-wrap: anywhere; margin: 4px 0 10px; }
details h4 { margin: 8px 0 2px; font-size: 13px; }
code { font-family: var(--mono); font-size: 0.92em; }
.card { border: 1px solid var(--line); border-radius: 10px; padding: 14px 18px; margin: 0 0 22px; background: #fbfcfd; }
.card header { display: flex; gap: 12px; align-items: baseline; margin-bottom: 10px; }
.card h3 { margin: 0; font-size: 19px; }
.badge { font-size: 12px; font-weight: 600; border: 1px solid #b98900; color: #5f4700; background: #fff4d6;
  border-radius: 10px; padding: 0 9px; }
.id { margin-left: auto; font-size: 13px; }
.clip-row { display: grid; grid-template-columns: minmax(0, 722px) minmax(190px, 1fr); gap: 22px; }
blockquote { margin: 0; font-size: 19px; line-height: 1.35; font-family: Georgia, "Times New Roman", serif;
  overflow-wrap: anywhere; }
.verdicts { list-style: none; padding: 0; margin: 16px 0 0; }
.verdicts li { margin-bottom: 8px; line-height: 1.3; }
.verdicts small { display: block; color: var(--muted); font-size: 12px; padding-left: 22px; }
.yes, .no { display: inline-block; width: 18px; } .yes { color: var(--blue); } .no { color: var(--orange); }
.turns { list-style: none; padding: 0; margin: 0 0 10px; font: 17px/1.4 Georgia, "Times New Roman", serif; }
.turns li:nth-child(even) { color: var(--muted); padding-left: 24px; }
.said th { width: 160px; font-weight: 400; color: var(--muted); } .said td { text-align: left; }
.unseen { color: var(--muted); font-style: italic; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 20px; }
dt { color: var(--muted); } dd { margin: 0; }
@media (max-width: 820px) { main { padding: 20px 16px; } .hero, .clip-row { grid-template-columns: 1fr; } }
@media print { body, main { background: #fff; padding: 0; max-width: none; font-size: 12px; }
  .card, .tile, table, svg.chart, .hero { break-inside: avoid; } h2, h3 { break-after: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""
