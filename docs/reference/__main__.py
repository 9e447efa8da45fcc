"""Writes every page: `python -m docs.reference`."""

from docs.reference import FOLDER, PAGES

if __name__ == "__main__":
    for name, build_page in PAGES.items():
        (FOLDER / name).write_text(build_page())
