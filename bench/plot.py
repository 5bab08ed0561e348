"""Stacked bars as SVG: what a token costs, part by part."""

COLOURS = ('#4c72b0', '#dd8452', '#55a868', '#c44e52', '#8172b3', '#937860', '#da8bc3', '#8c8c8c',
           '#ccb974', '#64b5cd', '#333333', '#b0b0b0', '#e0e0e0')
WIDTH, LEFT, BAR, GAP = 760, 70, 26, 10


def box(x, y, width, height, colour, title):
    return (f'<rect x="{x:.1f}" y="{y}" width="{max(width, 0):.1f}" height="{height}" fill="{colour}">'
            f'<title>{title}</title></rect>')


def text(x, y, words, anchor='start', size=12):
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" font-size="{size}">{words}</text>'


def write(path, rows, parts, title):
    """rows: label -> part -> value; one horizontal bar per row."""
    longest = max(sum(row.values()) for row in rows.values())
    scale = (WIDTH - LEFT - 90) / longest
    shown = [p for p in parts if any(row.get(p, 0) > longest / 500 for row in rows.values())]
    out, y = [text(LEFT, 20, title, size=14)], 34
    for label, row in rows.items():
        x = LEFT
        out.append(text(LEFT - 8, y + 17, label, 'end'))
        for part, colour in zip(parts, COLOURS):
            value = row.get(part, 0)
            if part in shown:
                out.append(box(x, y, value * scale, BAR, colour, f'{part}: {value:.2f}'))
            x += value * scale
        out.append(text(x + 6, y + 17, f'{sum(row.values()):.1f}'))
        y += BAR + GAP
    for i, part in enumerate(shown):
        x = LEFT + i % 5 * 130
        out.append(box(x, y + 4 + i // 5 * 18, 12, 12, COLOURS[parts.index(part)], part))
        out.append(text(x + 17, y + 14 + i // 5 * 18, part))
    height = y + 12 + 18 * (1 + (len(shown) - 1) // 5)
    with open(path, 'w', encoding='ascii') as f:
        f.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
                f'font-family="sans-serif">\n' + '\n'.join(out) + '\n</svg>\n')
