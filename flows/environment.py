"""The environment of everything that is started here. What the user has set stays as it is."""

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
"""No telemetry of the libraries below."""

HEARTBEAT_SECONDS = 30
"""Of a flow run; the shortest that Prefect allows."""

PREFECT = {
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
    # An ephemeral server needs longer to start than Prefect waits for it.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}

SERVER = {
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
    "PREFECT_SERVER_UI_API_URL": "/api",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    # A machine that trains meanwhile lets the database wait.
    "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
    "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "60",
    # The recorder of task runs falls behind with batches of one.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "200",
}


def apply() -> None:
    """Set what this process and its children need, before a library reads it."""
    for name, value in (QUIET | PREFECT).items():
        os.environ.setdefault(name, value)


def server_environment(*, url: str, home: str, auth: str | None) -> Mapping[str, str]:
    """The environment of a server whose pages are at `url`, and of its clients: its own pages may call it, no other."""
    found = {
        **QUIET,
        **PREFECT,
        **SERVER,
        "PREFECT_HOME": home,
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": url,
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": f"{home}/ui",
        **os.environ,
        "PREFECT_API_URL": f"{url}/api",
    }
    return found | ({"PREFECT_API_AUTH_STRING": auth} if auth else {})
