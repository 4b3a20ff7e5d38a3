"""How tests are spread over processes: a file's tests stay together, so that what they share is made once."""

from pathlib import Path

FLOWS = Path(__file__).parent / "flows"


def pytest_collection_modifyitems(items):
    """Long ones first, so that no process waits at the end: those with a Prefect server, then other whole runs."""
    served = {item.path for item in items if "up" in item.fixturenames}
    items.sort(key=lambda item: (item.path not in served, FLOWS not in item.path.parents))
