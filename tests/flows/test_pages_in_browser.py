"""The pages as a person sees them, in headless Chromium: a form, a run, an artifact; and no request to the outside."""

import shutil
import time
from pathlib import Path

import pytest

from tests.flows.conftest import NIGHTS
from tests.flows.prefect_up import ENDED

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PICTURES = Path("test-output")

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
    pytest.mark.slow,
]


@pytest.fixture
def page(tmp_path):
    """A page of a browser with a fresh profile; `outside` are its requests that left this machine."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            tmp_path / "profile", executable_path=CHROMIUM, args=FLAGS, viewport={"width": 1300, "height": 1000}
        )
        page = browser.new_page()
        page.set_default_timeout(60_000)
        page.outside = []
        page.on("request", lambda r: None if is_inside(r.url) else page.outside.append(r.url))
        PICTURES.mkdir(exist_ok=True)
        yield page
        browser.close()


def is_inside(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:", "chrome"))


def test_a_form_is_filled_sent_and_the_run_watched(up, page, tmp_path):
    deployment = up.deployments()["tiny"]
    page.goto(f"{up.url}/v2/deployments/deployment/{deployment['id']}")
    page.get_by_text("tiny", exact=True).first.wait_for()
    page.screenshot(path=PICTURES / "deployment.png")

    page.goto(f"{up.url}/v2/deployments/deployment/{deployment['id']}/run")
    page.get_by_text("hp, lp, lp_hp, qa_lp").wait_for()
    page.get_by_text("Where prompts come from.").wait_for()
    page.screenshot(path=PICTURES / "form.png", full_page=True)
    assert page.get_by_role("tab", name="transformers", selected=True).count() == 1
    assert page.get_by_role("tab", name="entailment", selected=True).count() == 1
    assert page.get_by_role("tab", name="rescue", selected=True).count() == 1
    assert page.get_by_role("tab", name="sft", exact=True, selected=True).count() == 1
    page.get_by_role("tab", name="dpo, minor_dpo").first.click()
    store = page.locator("textarea", has_text=str(up.store))
    store.fill(str(tmp_path / "store"))
    with page.expect_response("**/create_flow_run") as sent:
        page.get_by_role("button", name="Submit").click()
    run = sent.value.json()
    first = run["parameters"]["recipe"]["train"]["arms"][0]
    assert first == {"name": "rescue", "method": {"method": "dpo", "beta": 0.1}}

    page.goto(f"{up.url}/v2/runs/flow-run/{run['id']}")
    found = up.until(run["id"], *ENDED)
    assert found["state_type"] == "COMPLETED", found["state"]["message"]
    page.reload()
    page.get_by_text("Completed", exact=True).first.wait_for()
    page.get_by_text("generate · 72 candidates").first.wait_for()
    page.wait_for_timeout(2000)  # the timeline draws itself
    page.screenshot(path=PICTURES / "run.png", full_page=True)

    artifacts = up.api("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}, "limit": 200})
    order = next(artifact for artifact in artifacts if artifact["key"] == "order")
    page.goto(f"{up.url}/v2/artifacts/artifact/{order['id']}")
    picture = page.get_by_alt_text("Hasse diagram")
    picture.wait_for()
    end = time.monotonic() + 20
    while not picture.evaluate("image => image.naturalWidth"):
        assert time.monotonic() < end, "the picture is not drawn"
        time.sleep(0.2)
    page.screenshot(path=PICTURES / "order.png", full_page=True)
    assert page.outside == []


def test_the_page_of_a_nightly_deployment_shows_its_schedule_and_next_runs(up, page):
    runs = up.until_runs("nightly/nights", "SCHEDULED")
    deployment = up.deployment("nightly/nights")
    page.goto(f"{up.url}/v2/deployments/deployment/{deployment['id']}?tab=Upcoming")
    page.get_by_text(runs[0]["name"]).first.wait_for()
    minute, hour, *_ = map(int, NIGHTS["nightly"]["cron"].split()[:2])
    page.get_by_text(f"At {(hour - 1) % 12 + 1:02d}:{minute:02d} {'AM' if hour < 12 else 'PM'}").first.wait_for()
    page.screenshot(path=PICTURES / "nights.png", full_page=True)
    assert page.outside == []
