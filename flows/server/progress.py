"""The progress of a long step, as a Prefect progress artifact of its task."""

import time
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

FIRST_SECONDS = 5.0
"""A step that ends sooner shows no progress."""
SECONDS_BETWEEN = 3.0


class ProgressArtifact:
    """A progress bar on Prefect's page. It is called with (done, total), in the step's own unit."""

    def __init__(self, step: str, key: str, *, first_seconds: float = FIRST_SECONDS):
        self.step, self.key = step, key
        self.due = time.monotonic() + first_seconds
        self.artifact: UUID | None = None

    def __call__(self, done: int, total: int) -> None:
        if total > 0 and time.monotonic() >= self.due:
            self._show(100 * done / total, f"{self.step}: {done:,} of {total:,}")

    def finish(self) -> None:
        """Show 100 %, if progress was shown at all."""
        if self.artifact is not None:
            self._show(100.0, f"{self.step}: done")

    def _show(self, percent: float, description: str) -> None:
        self.due = time.monotonic() + SECONDS_BETWEEN
        if self.artifact is None:
            self.artifact = create_progress_artifact(percent, key=self.key, description=description, _sync=True)  # type: ignore[call-arg]
        else:
            update_progress_artifact(self.artifact, percent, description=description, _sync=True)  # type: ignore[call-arg]
