"""The page in headless Chromium, with JavaScript and without: it reads, sorts, asks nothing."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.report import report
from tests.jobs.test_report import write_tree

WIDTHS = (1400, 400)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
        own = playwright.chromium.executable_path
        path = next((p for p in (*found, own) if p and Path(p).exists()), None)
        if path is None:
            pytest.skip(
                "no Chromium here: apt-get install chromium, or playwright install chromium"
            )
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("out")
    report(write_tree(root, ("mortality",), n=300, seeds=1))
    return (root / "report/index.html").as_uri()


def opened(browser: Any, address: str, faults: list[str], **options: Any) -> Any:
    """A page; ``faults`` gets every message, error and request but the one for the page itself."""
    page = browser.new_context(**options).new_page()
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("requestfailed", lambda request: faults.append(request.url))
    page.on(
        "request",
        lambda request: request.url in (address, "data:,") or faults.append(request.url),
    )
    page.goto(address)
    return page


def column(page: Any, name: str) -> list[str]:
    """Cells of a column of the first table, top to bottom, those hidden left out."""
    heads = page.locator("#discrimination thead th").all_inner_texts()
    place = next(i for i, head in enumerate(heads) if head.startswith(name))
    rows = page.locator("#discrimination tbody tr:not(.group):visible").all()
    return [row.locator("th, td").nth(place).inner_text() for row in rows]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("scripts", [True, False])
def test_the_page_is_whole_and_quiet(
    browser: Any, page_file: str, width: int, scheme: str, scripts: bool
) -> None:
    faults: list[str] = []
    size = {"width": width, "height": 900}
    page = opened(browser, page_file, faults, viewport=size, color_scheme=scheme,
                  java_script_enabled=scripts)  # fmt: skip
    assert column(page, "Model")[0] == "MedHMP, none"
    figure = page.locator("svg").first
    assert figure.bounding_box()["width"] >= min(300, width - 60)
    assert page.locator("summary", has_text="Numbers").first.is_visible()
    page.locator("summary", has_text="Numbers").first.click()
    assert page.locator("figure table").first.is_visible()
    if scripts:
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide == width
    assert faults == []
    page.context.close()


def test_a_table_sorts_and_filters_from_the_keyboard(browser: Any, page_file: str) -> None:
    faults: list[str] = []
    page = opened(browser, page_file, faults)
    before = column(page, "AUROC")
    head = page.locator("#discrimination thead th", has_text="AUROC").first
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(page, "AUROC") == sorted(before)
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert column(page, "AUROC") == sorted(before, reverse=True)
    page.locator("#subgroups summary").click()
    page.locator("#subgroups input").fill("sex both")
    shown = page.locator("#subgroups tbody tr:not(.group):visible").all_inner_texts()
    assert [row.split("\t")[:3] for row in shown] == [["MedHMP, both", "sex", s] for s in "FM"]
    assert faults == []
    page.context.close()
