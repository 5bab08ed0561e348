"""Gathers English prose from permissively licensed Debian documentation packages.

    python3 -m data.gather CORPUS          needs apt-get and dpkg-deb; downloads about 40 MB

For each package: the .deb is fetched with `apt-get download`, unpacked in a temporary folder, its
pages are turned into plain paragraphs, and PACKAGE.txt, PACKAGE.copyright (the package's own licence
file) and SOURCES.json (version, licence, bytes) are written.  A package whose licence file
lacks the words that its licence must have is refused.  The corpus is not part of the tree.
"""
import glob
import html.parser
import json
import os
import re
import subprocess
import sys
import tempfile

# package: (licence, words its copyright file must hold, pages)
PACKAGES = {
    "python3.11-doc": ("PSF-2.0", "PYTHON SOFTWARE FOUNDATION LICENSE", "usr/share/doc/python3.11/html/*/*.html"),
    "postgresql-doc-15": ("PostgreSQL", "Permission to use, copy, modify, and distribute this software",
                          "usr/share/doc/postgresql-doc-15/html/*.html"),
    "sqlite3-doc": ("public domain", "public domain", "usr/share/doc/sqlite3/*.html"),
    "apache2-doc": ("Apache-2.0", "Apache License", "usr/share/doc/apache2-doc/manual/en/**/*.html"),
    "rust-doc": ("MIT or Apache-2.0", "Apache", "usr/share/doc/rust-doc/html/book/*.html"),
    "python-attr-doc": ("MIT", "Permission is hereby granted", "usr/share/doc/python-attr-doc/html/*.html"),
}
SKIPPED = {"script", "style", "nav", "pre", "table", "head", "header", "footer", "select", "button", "code-block"}
BLOCKS = {"p", "li", "dd", "dt", "h1", "h2", "h3", "h4", "div", "section"}
MIN_WORDS = 8


class Text(html.parser.HTMLParser):
    """Paragraphs of a page, without navigation, code blocks and tables."""

    def __init__(self):
        super().__init__()
        self.skip, self.parts, self.paragraphs = [], [], []

    def flush(self) -> None:
        line = re.sub(r"\s+", " ", "".join(self.parts)).strip()
        self.parts = []
        if line:
            self.paragraphs.append(line)

    def handle_starttag(self, tag, attrs):
        if tag in SKIPPED:
            self.skip.append(tag)
        if tag in BLOCKS:
            self.flush()

    def handle_endtag(self, tag):
        if self.skip and self.skip[-1] == tag:
            self.skip.pop()
        if tag in BLOCKS:
            self.flush()

    def handle_data(self, data):
        if not self.skip:
            self.parts.append(data)


def prose_of(page: str) -> list[str]:
    """Paragraphs that read like English: long enough, mostly letters, ASCII after clean-up."""
    parser = Text()
    parser.feed(page)
    parser.flush()
    out = []
    for line in parser.paragraphs:
        for old, new in (("\u2019", "'"), ("\u2018", "'"), ("\u201c", '"'), ("\u201d", '"'), ("\u2014", " - "),
                         ("\u2013", "-"), ("\u00a0", " "), ("\u00b6", ""), ("\u2026", "...")):
            line = line.replace(old, new)
        letters = sum(c.isalpha() or c == " " for c in line)
        if line.isascii() and len(line.split()) >= MIN_WORDS and letters > 0.85 * len(line) and line[-1] in ".:!?":
            out.append(line.strip())
    return out


def unpack(package: str, folder: str) -> tuple[str, str]:
    """Downloads and unpacks; returns the version and the copyright file's text."""
    subprocess.run(["apt-get", "download", "-qq", package], cwd=folder, check=True)
    deb = glob.glob(os.path.join(folder, package + "_*.deb"))[0]
    field = subprocess.run(["dpkg-deb", "-f", deb, "Version"], check=True, capture_output=True, text=True)
    subprocess.run(["dpkg-deb", "-x", deb, folder], check=True)
    with open(os.path.join(folder, "usr/share/doc", package, "copyright"), encoding="utf-8") as f:
        return field.stdout.strip(), f.read()


def gather(package: str, out: str) -> dict:
    licence, words, pattern = PACKAGES[package]
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        version, copyright_text = unpack(package, folder)
        if words.lower() not in copyright_text.lower():
            sys.exit(f"{package} {version}: its copyright file does not say '{words}'; not used")
        pages, seen, count = sorted(glob.glob(os.path.join(folder, pattern), recursive=True)), set(), 0
        with open(os.path.join(out, package + ".txt"), "w", encoding="utf-8") as f:
            for path in pages:
                with open(path, encoding="utf-8", errors="replace") as page:
                    fresh = [p for p in prose_of(page.read()) if p not in seen]
                seen.update(fresh)
                if len(fresh) >= 3:
                    count += 1
                    f.write("\n".join(fresh) + "\n\n")
        with open(os.path.join(out, package + ".copyright"), "w", encoding="utf-8") as f:
            f.write(copyright_text)
        size = os.path.getsize(os.path.join(out, package + ".txt"))
        return {"package": package, "version": version, "licence": licence, "pages": count, "bytes": size}


def main(out: str) -> None:
    os.makedirs(out, exist_ok=True)
    sources = [gather(p, out) for p in PACKAGES]
    with open(os.path.join(out, "SOURCES.json"), "w", encoding="ascii") as f:
        json.dump(sources, f, indent=1)
    for s in sources:
        print("{package} {version} ({licence}): {pages} pages, {bytes} bytes".format(**s))
    if not all(s["bytes"] for s in sources):
        sys.exit("a package gave no text; its pages have moved")


if __name__ == "__main__":
    main(sys.argv[1])
