"""Pages of MLflow's UI: of an experiment as a table of trainings, and of a run."""

from urllib.parse import quote, urlsplit

from runner.settings.trust import record_reading, secrets
from runner.tracking.read import recall
from runner.tracking.store import search, stores

#: All experiments, which is what there is to see where no run is.
ALL = "#/experiments"
#: What makes the page that of a training: a browser that comes for the first time is shown one of language models.
TRAINING = "?workflowType=machine_learning"


def experiment(uri: str, name: str | None) -> str:
    """Return the page of the experiment of that name, or with None of that of the newest run; "" without such a one.

    The page is the table of runs that MLflow has for trainings: its own first page is about language models.
    Raises MlflowException for a store that does not answer.
    """
    client = stores.open_store(uri)
    ids = {e.name: e.experiment_id for e in client.search_experiments()}
    if name is not None:
        chosen = ids.get(secrets.masked(name), "")
    else:
        newest = search.runs(client, list(ids.values()), most=1, order_by=["attributes.start_time DESC"]) if ids else []
        chosen = next((run.info.experiment_id for run in newest), "")
    return f"{ALL}/{quote(str(chosen), safe='')}/runs{TRAINING}" if chosen else ""


def run(uri: str, word: str) -> str:
    """Return the page of the run or sweep that `word` means. Raises ConfigError if there is none, or are several."""
    run_id = recall.find(uri, word)
    record = recall.run(uri, run_id)
    recall.say_last(word, record)
    return _of(run_id, record.info.experiment_id)


def server(uri: str) -> str:
    """Return the address of the server that `uri` names, without user and password; "" for any other store."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https"):
        return ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"


def seen(uri: str, run_id: str, experiment_id: str) -> str:
    """Return how a run is looked at: its address on a server, else the command that shows it."""
    from runner.settings import Tracking
    from runner.settings.trust.typed_words import pasted

    if (address := server(uri)) and experiment_id:
        return f"{address}/{_of(run_id, experiment_id)}"
    store = "" if uri == Tracking().uri else f" {pasted('tracking.uri', secrets.masked(uri))}"
    return f"runner ui {run_id[:8]}{store}"


def _of(run_id: str, experiment_id: str) -> str:
    return f"{ALL}/{quote(str(experiment_id), safe='')}/runs/{record_reading.run_id(run_id)}{TRAINING}"
