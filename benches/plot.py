"""Draws the table "At a glance" of docs/performance.md: each ratio beside its aim.

    python3 benches/plot.py
"""

from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parent.parent
ROW, LEFT, WIDTH, TOP = 26, 400, 330, 34


def rows(page: str) -> list[tuple[str, float, float]]:
    """Name, ratio and aim of each row of the table."""
    table = page.split("## At a glance", 1)[1].split("\n## ", 1)[0]
    cells = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")]
    return [(f"{what} : {beside}", float(ratio), float(aim)) for what, beside, ratio, aim in cells[2:]]


def svg(figures: list[tuple[str, float, float]]) -> str:
    """Horizontal bars, with a stroke at each aim."""
    most = max(max(ratio, aim) for _, ratio, aim in figures) * 1.08
    at = lambda value: LEFT + value / most * WIDTH
    height = TOP + ROW * len(figures) + 14
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 60}" height="{height}" font-family="sans-serif" font-size="13">']
    parts.append('<rect width="100%" height="100%" fill="white"/>')
    parts.append(f'<text x="{LEFT}" y="20">ratio to the peer; the stroke is the aim</text>')
    for i, (name, ratio, aim) in enumerate(figures):
        y = TOP + i * ROW
        colour = "#2a7f62" if ratio >= aim else "#c77d2b"
        parts.append(f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<rect x="{LEFT}" y="{y + 3}" width="{at(ratio) - LEFT:.1f}" height="16" fill="{colour}"/>')
        parts.append(f'<path d="M{at(aim):.1f} {y} V{y + 22}" stroke="black" stroke-width="2"/>')
        parts.append(f'<text x="{at(max(ratio, aim)) + 6:.1f}" y="{y + 15}">{ratio:g}</text>')
    parts.append("</svg>\n")
    return "\n".join(parts)


if __name__ == "__main__":
    page = (ROOT / "docs/performance.md").read_text()
    (ROOT / "docs/plots/performance.svg").write_text(svg(rows(page)))
