"""The page, as the report's own: HTML, Markdown, JSON and figures."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import rich.table

from medhmp.layout import MARKDOWN, PAGE, PAPER, RESULTS
from medhmp.legend import PaperPart
from medhmp.paper import compare
from medhmp.paper.compare import Record
from medhmp.paper.figures import drawing_of
from medhmp.paper.material import Scored
from medhmp.paper.plan import Part
from medhmp.paper.sections import (
    METRICS,
    added_section,
    counts_section,
    epochs_section,
    left_out_section,
    part_section,
    places_section,
)
from medhmp.provenance import provenance
from medhmp.report import page
from medhmp.report.names import TASK_NAMES
from medhmp.report.section import Section
from medhmp.report.story import NOTES, SYNTHETIC_NOTICE, Story
from medhmp.run import tree_of
from medhmp.storage import Entry, Folder
from medhmp.tables.schema import SYNTHETIC


def results_of(
    scored: Scored, parts: Mapping[PaperPart, Part], left_out: Mapping[PaperPart, str]
) -> Record:
    """``results.json``: the lines of every part, MedHMP's places, what pretraining adds, counts."""
    run, told, places, added = scored.run, {}, [], []
    for name, part in parts.items():
        lines = compare.lines_of(name, part, scored)
        if name == "figure_6":
            lines = compare.epoch_lines(part, scored)
        elif part.kind == "contest":
            places += compare.places(name, part, lines)
        else:
            added.append(compare.added(name, lines))
        told[name] = {"title": part.title, "lines": lines}
    skipped = [
        {"what": record["task"], "variant": variant, "reason": record["reason"]}
        for variant, material in scored.grids.materials.items()
        for record in material.skipped
    ]
    return {
        "run": {
            **tree_of(
                next(iter(scored.grids.materials.values())).fields if scored.grids.materials else {}
            ),
            "name": run.name,
            "report": asdict(run.report),
            "paper": asdict(run.paper),
        },
        "data": " and ".join(scored.manifest.counts),
        "parts": told,
        "places": places,
        "added": added,
        "cohort": compare.cohort_counts(scored) if "table_8" in run.paper.parts else [],
        "left_out": [
            *({"what": name, "variant": None, "reason": why} for name, why in left_out.items()),
            *skipped,
        ],
        "provenance": {PAPER: provenance()},
    }


def write(folder: Folder, results: Record, parts: Mapping[PaperPart, Part]) -> list[Entry]:
    """Writes results.json, the figures, report.md and index.html."""
    drawings = [
        drawing_of(name, part.title, results["parts"][name]["lines"])
        for name, part in parts.items()
        if name.startswith("figure") and results["parts"][name]["lines"]
    ]
    text = story(results)
    panels = [panel for drawing in drawings for panel in drawing.panels]
    return [
        folder.write_json(RESULTS, results),
        *(folder.write_bytes(panel.file, panel.svg.encode()) for panel in panels),
        folder.write_bytes(MARKDOWN, page.markdown(text, drawings).encode()),
        folder.write_bytes(PAGE, page.html(text, drawings).encode()),
    ]


def story(results: Record) -> Story:
    """The text for one ``results.json``."""
    synthetic = SYNTHETIC in results["data"].split(" and ")
    grids = {
        (line.get("variant"), line.get("task"), line["model"], line["start"])
        for part in results["parts"].values()
        for line in part["lines"]
    }
    return Story(
        title=f"MedHMP, the paper table by table: {results['run']['name']}",
        lead=f"{len(results['parts'])} tables and figures from {len(grids)} grids, the paper's "
        f"numbers beside ours; {results['run']['report']['draws']:,} patient-bootstrap draws.",
        notice=SYNTHETIC_NOTICE if synthetic else NOTES[0],
        headline=headline(results),
        sections=_sections(results),
    )


def _sections(results: Record) -> list[Section]:
    data = f"{results['data']} patients" if results["data"] else "no patients"
    titles = {name: of["title"] for name, of in results["parts"].items()}
    every = [places_section(results["places"], titles), added_section(results["added"], titles)]
    for name, of in results["parts"].items():
        if name == "figure_6":
            every.append(epochs_section(of["title"], of["lines"]))
        else:
            every.append(part_section(of["title"], of["lines"], data))
    every.append(counts_section(results["cohort"], data))
    every.append(left_out_section(results["left_out"]))
    return [section.pruned() for section in every if any(section.groups.values())]


def headline(results: Record) -> list[tuple[str, str]]:
    """MedHMP's place as it is, and what pretraining adds, in a sentence each."""
    cards, places, added = [], results["places"], results["added"]
    if places:
        first = sum(of["place"] == 1 for of in places)
        among = sum(of["place_of_networks"] == 1 for of in places)
        paper = [of["paper_place"] for of in places if of["paper_place"]]
        said = (
            f"contests (a table's task and metric) in which MedHMP comes first, the floors "
            f"included; among the paper's models alone {among}"
        )
        if paper:
            said += f"; in the paper {sum(place == 1 for place in paper)} of {len(paper)}"
        cards.append((f"{first} of {len(places)}", said))
    total = sum(of["comparisons"] for of in added)
    if total:
        higher, above, below, theirs, of_theirs = (
            sum(of[name] for of in added)
            for name in ("higher", "above", "below", "paper_higher", "paper_comparisons")
        )
        said = (
            f"comparisons in which more pretraining scores higher than less of it; {above} with an "
            f"interval above zero, {below} below; in the paper {theirs} of {of_theirs}"
        )
        cards.append((f"{higher} of {total}", said))
    return cards


def console_table(places: Sequence[Record]) -> rich.table.Table:
    """MedHMP's places: a line per part, task and metric."""
    table = rich.table.Table(title="MedHMP's place", title_justify="left")
    for column in ("", "with the floors", "the paper's models", "in the paper"):
        table.add_column(column, justify="left" if not column else "right")
    for of in places:
        name = f"{of['part']}, {TASK_NAMES[of['task']]}, {METRICS[of['metric']]}"
        paper = f"{of['paper_place']} of {of['paper_of']}" if of["paper_place"] else "-"
        ours = (f"{of['place']} of {of['of']}", f"{of['place_of_networks']} of {of['networks']}")
        table.add_row(name, *ours, paper)
    return table
