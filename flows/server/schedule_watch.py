"""Check, while a process serves flows, whether the Prefect server makes runs from their schedules.

A server whose scheduler fails looks healthy, and no run ever starts.
"""

import logging
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from httpx import HTTPError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.schedules import SCHEDULE_TYPES, CronSchedule
from prefect.client.schemas.sorting import FlowRunSort

from hasse.flows.server.nightly_flow import next_time

PrefectSchedule = SCHEDULE_TYPES
Problems = dict[UUID, str]
"""Deployment or run -> what is wrong with it."""

LOGGER = logging.getLogger("hasse.schedules")
HORIZON = timedelta(days=100)
"""How far ahead Prefect's scheduler makes runs."""
PATIENCE = timedelta(seconds=75)
"""Prefect's scheduler looks at everything once a minute."""
SCHEDULED = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))
LATE = timedelta(minutes=2)
FIRST_SECONDS, SECONDS = 5.0, 30.0
"""Seconds between two checks: in the first minutes, and later."""
SHOWN = 3


class ScheduleWatch:
    """Says what runs next, when a schedule has no runs or a run does not start, and when that is over."""

    def __init__(self, served: Mapping[str, UUID]):
        self.served = {id_: name for name, id_ in served.items()}
        self.said_next: set[UUID] = set()
        self.unscheduled_since: dict[UUID, datetime] = {}
        self.problems: Problems = {}

    def start(self) -> None:
        LOGGER.setLevel(logging.INFO)
        threading.Thread(target=self._watch, name="schedules", daemon=True).start()

    def look(self, client: SyncPrefectClient, now: datetime) -> None:
        """Compare the server's schedules with its scheduled runs, and log what has changed."""
        found = dict(self._unstarted(_late_runs(client, list(self.served), now)))
        for id_ in self.served:
            active = [s.schedule for s in client.read_deployment_schedules(id_) if s.active]
            ahead = _next_runs(client, id_, now) if active else []
            if active and (ahead or not client.read_deployment(id_).paused):
                found |= self._unscheduled(id_, active, ahead, now)
                self._say_next(id_, active, ahead, now)
        self._say(found)

    def _watch(self) -> None:
        begun = datetime.now(UTC)
        while True:
            try:
                with get_client(sync_client=True) as client:
                    self.look(client, datetime.now(UTC))
            except HTTPError as error:  # the server is away; `hasse up` and Prefect's own runner say so
                LOGGER.debug("no look at the schedules: %s", error)
            early = datetime.now(UTC) - begun < 2 * PATIENCE
            threading.Event().wait(FIRST_SECONDS if early else SECONDS)

    def _unscheduled(
        self, id_: UUID, schedules: list[PrefectSchedule], ahead: list[datetime], now: datetime
    ) -> Problems:
        if ahead or not _fire_soon(schedules, now):
            self.unscheduled_since.pop(id_, None)
            return {}
        if now - self.unscheduled_since.setdefault(id_, now) < PATIENCE:
            return {}
        return {
            id_: f"{self.served[id_]} has a schedule ({_words(schedules)}) and the server has scheduled no run for it: "
            "the scheduler of the Prefect server does not work, and no night will start by itself"
        }

    def _unstarted(self, runs: list[FlowRun]) -> Iterator[tuple[UUID, str]]:
        for run in runs:
            due = run.expected_start_time
            if due is not None and run.deployment_id is not None:
                name = self.served[run.deployment_id]
                yield (
                    run.id,
                    f"{name}: the run {run.name} was to start at {due:%Y-%m-%d %H:%M} UTC and has not started; "
                    "either as many runs as --limit allows are under way, or this process gets no work from the server",
                )

    def _say_next(self, id_: UUID, schedules: list[PrefectSchedule], ahead: list[datetime], now: datetime) -> None:
        if id_ in self.said_next or (not ahead and _fire_soon(schedules, now)):
            return
        self.said_next.add(id_)
        if ahead:
            zone = ZoneInfo(next((s.timezone for s in schedules if isinstance(s, CronSchedule) and s.timezone), "UTC"))
            times = ", ".join(f"{time.astimezone(zone):%a %Y-%m-%d %H:%M %Z}" for time in ahead)
            LOGGER.info("Next runs of %s: %s", self.served[id_], times)
        else:
            LOGGER.info(
                "%s (%s) does not run within %d days, and the Prefect server schedules no run so far ahead",
                self.served[id_],
                _words(schedules),
                HORIZON.days,
            )

    def _say(self, found: Problems) -> None:
        for key in found.keys() - self.problems.keys():
            LOGGER.error(found[key])
        for key in self.problems.keys() - found.keys():
            LOGGER.info("No longer so: %s", self.problems[key])
            self.said_next.discard(key)
        self.problems = found


def _late_runs(client: SyncPrefectClient, deployments: list[UUID], now: datetime) -> list[FlowRun]:
    which = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=deployments),
        state=SCHEDULED,
        expected_start_time=FlowRunFilterExpectedStartTime(before_=now - LATE),  # type: ignore[arg-type]
    )
    return client.read_flow_runs(flow_run_filter=which, limit=SHOWN)


def _next_runs(client: SyncPrefectClient, deployment: UUID, now: datetime) -> list[datetime]:
    which = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment]),
        state=SCHEDULED,
        expected_start_time=FlowRunFilterExpectedStartTime(after_=now),  # type: ignore[arg-type]
    )
    runs = client.read_flow_runs(flow_run_filter=which, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=SHOWN)
    return [run.expected_start_time for run in runs if run.expected_start_time is not None]


def _fire_soon(schedules: list[PrefectSchedule], now: datetime) -> bool:
    """Whether a schedule fires within the horizon. A schedule without cron was made by hand and counts as firing."""
    return any(not isinstance(s, CronSchedule) or next_time(s, now) - now < HORIZON for s in schedules)


def _words(schedules: list[PrefectSchedule]) -> str:
    return ", ".join(
        f"`{s.cron}` {s.timezone or 'UTC'}" if isinstance(s, CronSchedule) else "made by hand" for s in schedules
    )
