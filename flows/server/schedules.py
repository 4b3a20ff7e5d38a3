"""Schedules of nightly deployments at a Prefect server: from recipes, and made by hand on the page."""

from collections.abc import Collection, Mapping
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse

from hasse.flows.server.nightly_flow import FROM_RECIPE, nightly_flow

TAG = "hasse"
"""The tag of every deployment that hasse makes."""


def keep_schedule(client: SyncPrefectClient, deployment_id: UUID, wanted: DeploymentScheduleCreate | None) -> None:
    """Give the deployment the schedule of its recipe. Schedules that were made by hand stay.

    A schedule that was switched off on the page stays off until the recipe changes it. The server deletes the
    scheduled runs of a schedule that is changed or deleted.
    """
    ours = [found for found in client.read_deployment_schedules(deployment_id) if _is_from_recipe(found, wanted)]
    if wanted is None or not ours:
        for found in ours:
            client.delete_deployment_schedule(deployment_id, found.id)
        if wanted is not None:
            client.create_deployment_schedules(deployment_id, [wanted])
        return
    (kept, *others) = ours
    for found in others:
        client.delete_deployment_schedule(deployment_id, found.id)
    if kept.slug != wanted.slug or not _are_equal(kept, wanted):
        changes = {"schedule": wanted.schedule, "slug": wanted.slug, "active": True}
        client.update_deployment_schedule(deployment_id, kept.id, **changes)


def pause_abandoned(client: SyncPrefectClient, served: Mapping[str, UUID], *, alone: bool) -> list[str]:
    """Pause nightly deployments that no process serves any more, so that no runs pile up. Returns their names.

    A recipe that is served without its section `nightly`, or under another name, leaves such a deployment behind.

    Args:
        served: Full name -> id of every deployment that this process serves.
        alone: No other process serves deployments at this server, apart from workers.
    """
    recipes = {name.partition("/")[2] for name in served}
    filters = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    abandoned = [
        found
        for found in client.read_deployments(deployment_filter=filters, limit=200)
        if _is_abandoned(client, found, served.values()) and (alone or found.name in recipes)
    ]
    for found in abandoned:
        client.pause_deployment(found.id)
    return [f"{nightly_flow.name}/{found.name}" for found in abandoned]


def _is_abandoned(client: SyncPrefectClient, found: DeploymentResponse, served: Collection[UUID]) -> bool:
    """Whether no process serves this deployment. A deployment with a work pool is served by its workers."""
    if found.id in served or found.work_pool_name is not None or found.paused:
        return False
    return client.read_flow(found.flow_id).name == nightly_flow.name


def _is_from_recipe(found: DeploymentSchedule, wanted: DeploymentScheduleCreate | None) -> bool:
    """Whether a schedule comes from the recipe: by its slug or, without a slug, because the two are equal."""
    return found.slug == FROM_RECIPE or (found.slug is None and wanted is not None and _are_equal(found, wanted))


def _are_equal(found: DeploymentSchedule, wanted: DeploymentScheduleCreate) -> bool:
    return found.schedule == wanted.schedule
