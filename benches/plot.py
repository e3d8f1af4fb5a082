"""Draws the table "At a glance" of docs/performance.md: each machine's ratios beside their aim.

    python3 benches/plot.py
"""

from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parent.parent
ROW, LEFT, WIDTH, TOP = 26, 400, 330, 34


def rows(page: str) -> tuple[list[str], list[tuple[str, list[float | None], float]]]:
    """The machines; name, ratios (none where nothing was measured) and aim of each row of the table."""
    table = page.split("## At a glance", 1)[1].split("\n## ", 1)[0]
    cells = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")]
    return cells[0][2:-1], [(f"{what} : {beside}", [None if r == "–" else float(r) for r in ratios], float(aim)) for what, beside, *ratios, aim in cells[2:]]


def longest(ratios: list[float | None], aim: float) -> float:
    """How far a row's marks reach."""
    return max(aim, *(ratio for ratio in ratios if ratio is not None))


def svg(machines: list[str], figures: list[tuple[str, list[float | None], float]]) -> str:
    """Horizontal bars, a thinner one for each further machine, with a stroke at each aim."""
    most = max(longest(ratios, aim) for _, ratios, aim in figures) * 1.08
    at = lambda value: LEFT + value / most * WIDTH
    height = TOP + ROW * len(figures) + 14
    thick = 20 // len(machines)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 90}" height="{height}" font-family="sans-serif" font-size="13">']
    parts.append('<rect width="100%" height="100%" fill="white"/>')
    parts.append(f'<text x="{LEFT}" y="20">ratio to the peer, machine {", ".join(machines)}; the stroke is the aim</text>')
    for i, (name, ratios, aim) in enumerate(figures):
        y = TOP + i * ROW
        parts.append(f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>')
        for j, ratio in enumerate(ratios):
            if ratio is None:
                continue
            colour = "#2a7f62" if ratio >= aim else "#c77d2b"
            top = y + 1 + j * thick
            parts.append(f'<rect x="{LEFT}" y="{top}" width="{at(ratio) - LEFT:.1f}" height="{thick - 1}" fill="{colour}"/>')
        parts.append(f'<path d="M{at(aim):.1f} {y} V{y + 22}" stroke="black" stroke-width="2"/>')
        told = ", ".join("–" if ratio is None else f"{ratio:g}" for ratio in ratios)
        parts.append(f'<text x="{at(longest(ratios, aim)) + 6:.1f}" y="{y + 15}">{told}</text>')
    parts.append("</svg>\n")
    return "\n".join(parts)


if __name__ == "__main__":
    page = (ROOT / "docs/performance.md").read_text()
    (ROOT / "docs/plots/performance.svg").write_text(svg(*rows(page)))
