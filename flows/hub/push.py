"""Push an artifact to the Hugging Face Hub: its files with a card, as one commit."""

from pathlib import Path

import httpx

from hasse.data.errors import InputError, WorkError
from hasse.data.settings.registry import unknown
from hasse.flows.hub.cards import exported_card, model_card, tables_card
from hasse.flows.hub.contents import Contents, folder_to_push, is_model, model_to_push, tables_to_push
from hasse.flows.hub.origin import origin_of
from hasse.pipeline.store import Artifact, Store
from hasse.stages.order.export import FORMATS, export


def contents_of(
    store: Store,
    artifact: Artifact,
    repo: str,
    *,
    run: str | None = None,
    licence: str | None = None,
    base: str | None = None,
    kind: str | None = None,
    folder: Path,
) -> Contents:
    """The files of a repository, with its card. Raises InputError for what cannot be pushed.

    Args:
        run: The run whose recipe and results the card states. Default: the newest that used the artifact.
        licence: The licence's name on the hub, such as apache-2.0.
        base: The hub's name of the model that training began with.
        kind: A format of `hasse export`, for orders; the exported files are written to `folder`.
    """
    _check_name(repo)
    origin = origin_of(store, artifact, run=run)
    if kind is not None:
        if kind not in FORMATS:
            raise InputError(unknown(kind, list(FORMATS), kind="format"))
        if artifact.stage != "order":
            raise InputError(f"{artifact.ref} is no artifact of the stage order; leave --format out")
        export(store, artifact, folder, kind=kind)
        contents = folder_to_push(folder)
        return contents.with_card(exported_card(contents, origin, licence=licence))
    if is_model(artifact):
        model = model_to_push(artifact, origin, base=base)
        return model.contents.with_card(model_card(model, origin, repo, licence=licence))
    contents = tables_to_push(artifact)
    return contents.with_card(tables_card(artifact, contents, origin, repo, licence=licence))


def push(contents: Contents, repo: str, *, public: bool, message: str) -> str:
    """Create the repository where there is none, upload the files as one commit, and return the commit's address.

    The token is that of the environment (HF_TOKEN) or of `hf auth login`. Raises InputError without one, and for a
    public repository unless `public`; WorkError when the hub refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if get_token() is None:
        raise InputError("there is no token for the hub; set HF_TOKEN to one that may write")
    api = HfApi(library_name="hasse")
    try:
        made = api.create_repo(repo, repo_type=contents.repo_type, private=not public, exist_ok=True)
        if not public and not api.repo_info(made.repo_id, repo_type=contents.repo_type).private:
            raise InputError(f"{made.repo_id} exists and is public; give --public, or another name")
        operations = [
            CommitOperationAdd(path_in_repo=name, path_or_fileobj=content) for name, content in contents.files.items()
        ]
        commit = api.create_commit(made.repo_id, operations, commit_message=message, repo_type=contents.repo_type)
    except OfflineModeIsEnabled as error:
        raise InputError("HF_HUB_OFFLINE is set; unset it to push") from error
    except (HfHubHTTPError, httpx.HTTPError, ValueError, RuntimeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WorkError(f"the hub did not take {repo}: {first}") from error
    return str(commit.commit_url)


def _check_name(repo: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise InputError(f"{repo!r} is no name of a repository, such as me/my-model: {error}") from error
