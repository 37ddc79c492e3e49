"""What the page of a conversion is made of: its style, cards, tables, columns drawn as SVG."""

from collections.abc import Sequence
from html import escape

STYLE = """
:root {
  --page: #f6f7f9; --card: #fff; --ink: #1b2330; --muted: #5a6577; --rule: #e1e5eb; --bar: #2f62d9; --kept: #c26a0a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #11151b; --card: #1a2029; --ink: #e8ecf2; --muted: #9ba6b6; --rule: #2d3541; --bar: #7ea6ff;
    --kept: #f0a95a;
  }
}
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, sans-serif }
main { max-width: 66rem; margin: 0 auto; padding: 2.5rem 1.25rem 3rem }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .5rem }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .25rem }
h3 { font-size: 1rem; margin: 0 0 .6rem }
p, li { max-width: 46rem; overflow-wrap: anywhere }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: .75rem }
.card { padding: 1.1rem 1.25rem; margin-top: 1rem }
.scroll { overflow-x: auto }
.note, footer { color: var(--muted); font-size: .875rem }
table { border-collapse: collapse; width: 100%; font-size: .9375rem; font-variant-numeric: tabular-nums }
th, td { padding: .4rem .6rem; text-align: right; border-bottom: 1px solid var(--rule); vertical-align: bottom }
td { white-space: nowrap }
th:first-child, td:first-child { text-align: left }
th { color: var(--muted); font-weight: 550; line-height: 1.3; font-size: .8438rem }
tr.kept td { font-weight: 650 }
svg { display: block; width: 100%; height: auto }
svg text { font: 12px system-ui, sans-serif }
"""


def whole_page(title: str, body: str) -> str:
    """Return a page around its parts; the title is HTML."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<style>{STYLE}</style></head><body><main>{body}</main></body></html>"
    )


def bars(values: Sequence[tuple[str, float, bool]]) -> str:
    """Return columns in the order of the graph, as SVG."""
    width, height, top = 960.0, 180.0, 14.0
    most = max((value for _, value, _ in values), default=0.0)
    step = width / len(values)
    marks = []
    for i, (name, value, kept) in enumerate(values):
        tall = (height - top) * value / (most or 1.0)
        colour = "--kept" if kept else "--bar"
        title = escape(f"{name}: {lost_cosine(value)}")
        marks.append(
            f'<rect x="{i * step + 0.1 * step:.1f}" y="{height - tall:.1f}" width="{0.8 * step:.1f}" '
            f'height="{max(tall, 0.5):.1f}" style="fill:var({colour})"><title>{title}</title></rect>'
        )
    label = f"cosine lost, layer by layer; at most {lost_cosine(most)}"
    return (
        f'<svg role="img" aria-label="{label}" viewBox="0 0 {width:.0f} {height + 22:.0f}">{"".join(marks)}'
        f'<line x1="0" x2="{width:.0f}" y1="{height}" y2="{height}" style="stroke:var(--muted)"/>'
        f'<text x="0" y="11" style="fill:var(--muted)">{lost_cosine(most)}</text>'
        f'<text x="0" y="{height + 16:.0f}" style="fill:var(--muted)">first layer</text>'
        f'<text x="{width:.0f}" y="{height + 16:.0f}" text-anchor="end" style="fill:var(--muted)">last layer</text>'
        "</svg>"
    )


def card(title: str, body: str, note: str) -> str:
    """Return a part of the page with a title, and a note below; all are HTML."""
    return f'<div class="card"><h3>{title}</h3>{body}<p class="note">{note}</p></div>'


def table(columns: Sequence[str], rows: Sequence[tuple[Sequence[str], bool]]) -> str:
    """Return a table of plain texts; rows with a true mark stand out."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        f"<tr{' class=kept' if kept else ''}>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for cells, kept in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def lost_cosine(lost: float) -> str:
    """Return what is lost of a cosine, with digits also where it is very little."""
    return f"{lost:.4f}" if not lost or abs(lost) >= 1e-3 else f"{lost:.1e}"
