"""What the documents name is there: links, paths, tests; and the files of continuous integration can
be read."""

import glob
import os
import re

import yaml

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
QUOTED = re.compile(r"`([^`\s]+)`")
FOLDERS = ("proto", "supervisor", "store", "workers", "tests", "packaging", "docs", "etc")
GUIDES = ["CONTRIBUTING.md", "RELEASING.md", "SECURITY.md"]


def documents():
    found = glob.glob(os.path.join(ROOT, "*.md"))
    for folder in FOLDERS:
        found += glob.glob(os.path.join(ROOT, folder, "**", "*.md"), recursive=True)
    return sorted(found)


def guides():
    """Those that name files of many folders, by their paths from the root."""
    return [path for path in documents()
            if os.path.relpath(path, ROOT).startswith("docs/") or os.path.basename(path) in GUIDES]


def read(path):
    with open(path) as file:
        return file.read()


def test_links_lead_somewhere():
    wrong = []
    for path in documents():
        for target in LINK.findall(read(path)):
            if "://" not in target and \
                    not os.path.exists(os.path.join(os.path.dirname(path), target)):
                wrong.append(f"{os.path.relpath(path, ROOT)}: {target}")
    assert not wrong, "\n".join(wrong)


def place_of(word):
    """Where a quoted word must lead, as a pattern; None for a word that is no file or test."""
    if re.fullmatch(rf"({'|'.join(FOLDERS)})/[\w./*-]*", word):
        return word
    if re.fullmatch(r"\w+_test", word) or re.fullmatch(r"\w+\*_test", word):
        return f"tests/unit/{word}.c"
    if re.fullmatch(r"test_[\w*]+\.py", word):
        return f"tests/*/{word}"
    if re.fullmatch(r"fuzz_\w+", word):
        return f"tests/fuzz/{word}.c"
    return None


def test_files_and_tests_that_are_named_are_there():
    wrong, checked = [], 0
    for path in guides():
        for word in QUOTED.findall(read(path)):
            place = place_of(word)
            if place:
                checked += 1
                if not glob.glob(os.path.join(ROOT, place)):
                    wrong.append(f"{os.path.relpath(path, ROOT)}: {word}")
    assert not wrong, "\n".join(wrong)
    assert checked > 50


def test_every_decision_is_in_the_list():
    folder = os.path.join(ROOT, "docs", "decisions")
    listed = set(LINK.findall(read(os.path.join(folder, "README.md"))))
    pages = {os.path.basename(path) for path in glob.glob(os.path.join(folder, "*.md"))}
    assert pages - {"README.md"} == listed
    for page in sorted(pages - {"README.md", "template.md"}):
        text = read(os.path.join(folder, page))
        assert re.match(rf"# {page[:3]}: ", text), page
        for part in ("**Context.**", "**Decision.**", "**Alternatives considered", "**Consequences.**"):
            assert part in text, (page, part)


def test_yaml_can_be_read():
    found = glob.glob(os.path.join(ROOT, ".github", "**", "*.yml"), recursive=True)
    found += [os.path.join(ROOT, ".clangd")]
    assert len(found) >= 5
    for path in found:
        assert yaml.safe_load(read(path)), path


def test_workflows_run_what_there_is():
    """Each step that runs make names a target of the Makefile."""
    targets = set(re.findall(r"^([\w-]+):", read(os.path.join(ROOT, "Makefile")), re.MULTILINE))
    used = set()
    for path in glob.glob(os.path.join(ROOT, ".github", "workflows", "*.yml")):
        for job in yaml.safe_load(read(path))["jobs"].values():
            for step in job["steps"]:
                used |= set(re.findall(r"^make ([\w-]+)", step.get("run", ""), re.MULTILINE))
    assert used and used <= targets, used - targets


def test_the_table_of_requests_has_every_route():
    """README.md: a line of the table for each path, with its methods before it."""
    rows = re.findall(r'^ROUTE\(\w+, (\w+), "([^"]+)"', read(os.path.join(
        ROOT, "proto", "api", "operations.def")), re.MULTILINE)
    cells = re.findall(r"^\| (`(?:GET|PUT|POST|DELETE)[^|]*) \|", read(os.path.join(
        ROOT, "README.md")), re.MULTILINE)
    shown = {(method, path[1]) for cell in cells
             for path in [re.search(r"(/\w+/)KEY", cell)] if path
             for method in re.findall(r"\b(?:GET|PUT|POST|DELETE|PATCH)\b", cell)}
    assert len(rows) >= 13 and shown == set(rows), shown ^ set(rows)
