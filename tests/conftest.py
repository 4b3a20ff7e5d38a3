"""How tests are spread over processes: a file's tests together, and all that use one Prefect server together."""

from pathlib import Path

import pytest

FLOWS = Path(__file__).parent / "flows"


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items):
    """Long ones first, so that no process waits at the end; what shares a fixture runs in one process."""
    for item in items:
        group = "up" if "up" in item.fixturenames else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: (FLOWS not in item.path.parents, "up" not in item.fixturenames))
