"""Environment variables of this process and of all it starts. A variable that the user has set keeps its value."""

import os
from collections.abc import Mapping

QUIET = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
    "VLLM_DO_NOT_TRACK": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
"""Turn off the telemetry of libraries."""

HEARTBEAT_SECONDS = 30
"""Seconds between two heartbeats of a flow run: the shortest time that Prefect allows."""

PREFECT = {
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
    # An ephemeral server needs longer to start than Prefect waits by default.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}

SERVER = {
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
    "PREFECT_SERVER_UI_API_URL": "/api",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    # The database is slow on a machine that also trains.
    "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
    "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "60",
    # With batches of one, the recorder of task runs falls behind.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "200",
}


def apply() -> None:
    """Set the variables that this process and its children need, before a library reads them."""
    for name, value in (QUIET | PREFECT).items():
        os.environ.setdefault(name, value)


def server_environment(*, url: str, home: str, auth: str | None) -> Mapping[str, str]:
    """The environment of a server whose pages are at `url`, and of its clients. Other pages may not call it."""
    environment = {
        **QUIET,
        **PREFECT,
        **SERVER,
        "PREFECT_HOME": home,
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": url,
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": f"{home}/ui",
        **os.environ,
        "PREFECT_API_URL": f"{url}/api",
    }
    return environment | ({"PREFECT_API_AUTH_STRING": auth} if auth else {})
