"""The JSON schema of what `--json` prints: one object a line, and what each command's result holds."""

from typing import Any

TEXT: dict[str, Any] = {"type": "string"}
MAYBE: dict[str, Any] = {"type": ["string", "null"]}
WHOLE: dict[str, Any] = {"type": "integer"}
#: JSON has no NaN and no infinity.
NUMBER: dict[str, Any] = {"anyOf": [{"type": "number"}, {"enum": ["nan", "inf", "-inf"]}]}
NUMBER_OR_NONE: dict[str, Any] = {"anyOf": [*NUMBER["anyOf"], {"type": "null"}]}
TRUTH: dict[str, Any] = {"type": "boolean"}
ANY: dict[str, Any] = {}
STATUS: dict[str, Any] = {"enum": ["FINISHED", "FAILED", "KILLED", "RUNNING", "SCHEDULED", "WAITING"]}
METRICS: dict[str, Any] = {"type": "object", "additionalProperties": {"anyOf": [*NUMBER["anyOf"], TEXT]}}
TEXTS: dict[str, Any] = {"type": "object", "additionalProperties": TEXT}


def listed(of: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a list."""
    return {"type": "array", "items": of}


def having(description: str, required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    """Return the schema of an object with these keys; later versions may add others, and leave out none."""
    properties = {**required, **optional}
    return {"type": "object", "description": description, "properties": properties, "required": list(required)}


PROBLEM = having(
    "One thing that is wrong: the key or word, what was found, what is expected, what to do, and the file and line.",
    {"key": MAYBE, "found": TEXT, "expected": MAYBE, "remedy": MAYBE, "file": MAYBE, "message": TEXT,
     "line": {"type": ["integer", "null"]}},
)  # fmt: skip
JOB = having(
    "A job of a sweep: value is its best of the sweep's metric.",
    {"job": WHOLE, "overrides": TEXTS, "run": TEXT, "status": STATUS, "value": NUMBER_OR_NONE, "metrics": METRICS,
     "epoch": WHOLE, "epochs": WHOLE, "seconds": NUMBER_OR_NONE, "pruned": {"type": ["integer", "null"]},
     "reason": TEXT},
)  # fmt: skip
RUN = having(
    "A run as a list has it. Times are ISO 8601 in UTC.",
    {"id": TEXT, "name": TEXT, "kind": {"enum": ["run", "sweep", "job"]}, "parent": MAYBE, "experiment": TEXT,
     "status": STATUS, "started": MAYBE, "ended": MAYBE, "seconds": NUMBER_OR_NONE, "note": TEXT, "metrics": METRICS,
     "params": TEXTS, "tags": TEXTS, "artifacts": TEXT},
)  # fmt: skip
TRAINED = having(
    "A training that has ended by itself.",
    {"run": TEXT, "experiment": TEXT, "uri": TEXT, "status": STATUS, "step": WHOLE, "steps": WHOLE, "metrics": METRICS},
)
CONFIGURATION = having(
    "Runs that differ in their seed or fold alone: mean and spread (n - 1) of the n that count, and how they compare"
    " with the best, p alone and corrected; rank is None for one that is left out for the reason there.",
    {"rank": {"type": ["integer", "null"]}, "overrides": TEXTS, "n": WHOLE, "mean": NUMBER_OR_NONE,
     "spread": NUMBER_OR_NONE, "p": NUMBER_OR_NONE, "corrected": NUMBER_OR_NONE,
     "differs": {"type": ["boolean", "null"]}, "left_out": MAYBE, "runs": listed(having(
         "A run, and its seed or fold by the name of the key.",
         {"job": WHOLE, "run": TEXT, "status": STATUS, "pruned": TRUTH, "value": NUMBER_OR_NONE}))},
)  # fmt: skip
COMPARISON = having(
    "Configurations by their means over the keys `over`, the best first; the best differs where corrected < level.",
    {"metric": TEXT, "mode": {"enum": ["min", "max"]}, "over": listed(TEXT), "level": NUMBER, "compared": WHOLE,
     "best": {"anyOf": [CONFIGURATION, {"type": "null"}]}, "configurations": listed(CONFIGURATION)},
)  # fmt: skip
SWEPT = having(
    "A sweep that has come to its end.",
    {"sweep": TEXT, "uri": TEXT, "status": STATUS, "reason": TEXT, "metric": TEXT, "mode": {"enum": ["min", "max"]},
     "keys": listed(TEXT), "best": {"anyOf": [JOB, {"type": "null"}]}, "front": listed(TEXT), "jobs": listed(JOB)},
    comparison={"anyOf": [COMPARISON, {"type": "null"}]},
)  # fmt: skip
GONE = having("A run that is deleted, or was.", {"id": TEXT, "name": TEXT, "kind": TEXT, "jobs": listed(TEXT)})
CAUSE = having(
    "What differs between two runs: effect is what it can change, first the first step whose loss it can change.",
    {"kind": {"enum": ["configuration", "seed", "weights", "data", "code", "resumed", "launcher", "environment",
                       "record"]},
     "key": TEXT, "a": ANY, "b": ANY, "words": TEXT, "first": WHOLE,
     "effect": {"enum": ["numbers", "rounding", "perhaps", "length", "measured", "nothing"]}},
    follows=listed(TEXT), diff=listed(TEXT),
)  # fmt: skip
#: Command -> the schemas of its results.
RESULTS: dict[str, list[dict[str, Any]]] = {
    "train": [TRAINED, SWEPT],
    "resume": [TRAINED, SWEPT, having("A run that is trained already.", {"run": TEXT, "status": STATUS}),
               having("A sweep that is complete.", {"sweep": TEXT, "message": TEXT})],
    "again": [TRAINED, SWEPT],
    "check": [having("A configuration, or the jobs of a sweep, without a problem.", {"jobs": listed(having(
        "What a job costs; seconds of all epochs, None where no step was tried.",
        {"name": TEXT, "parameters": WHOLE, "multiply_adds": WHOLE, "bytes": WHOLE, "seconds": NUMBER_OR_NONE,
         "steps": WHOLE, "examples": WHOLE, "device": TEXT, "threads": WHOLE}))})],
    "evaluate": [having("Loss and metrics of a checkpoint.",
                        {"run": TEXT, "checkpoint": TEXT, "step": WHOLE, "values": METRICS})],
    "predict": [having("The file of predictions.",
                       {"run": TEXT, "checkpoint": TEXT, "output": TEXT, "examples": WHOLE, "shapes": ANY})],
    "export": [having("The file of the model, compared with torch's.",
                      {"run": TEXT, "checkpoint": TEXT, "format": TEXT, "output": TEXT, "configuration": MAYBE,
                       "checked": TEXT})],
    "reproduce": [having("The comparison of a run with its repetition.",
                         {"run": TEXT, "verdict": {"enum": ["identical", "close", "different"]}, "values": WHOLE,
                          "different": WHOLE, "first": ANY, "weights": TEXTS, "different_weights": listed(TEXT)})],
    "sample": [having("Text of a language model.", {"run": TEXT, "checkpoint": TEXT, "text": TEXT})],
    "experiments": [having("The studies that can be trained.", {"experiments": listed(having(
        "A study: about is its question, comment all that its file begins with.",
        {"name": TEXT, "about": TEXT, "comment": TEXT, "own": TRUTH, "file": TEXT}))})],
    "best": [{"allOf": [COMPARISON, having(
        "The best configuration, its best run, and commands for that.",
        {"of": TEXT, "uri": TEXT, "run": MAYBE, "commands": TEXTS, "says": listed(TEXT)})]}],
    "runs": [having("Recorded runs, the newest first.", {"runs": listed(RUN)})],
    "show": [{"allOf": [RUN, having("All that a record has.", {"uri": TEXT, "config": ANY, "files": ANY,
                                                               "history": ANY, "commands": TEXTS})]}],
    "tag": [having("The tags of a run, without those of the program.", {"id": TEXT, "tags": TEXTS})],
    "note": [having("The description of a run.", {"id": TEXT, "note": TEXT})],
    "delete": [having("Runs that were deleted, with the jobs of sweeps.", {"deleted": listed(GONE)})],
    "restore": [having("Runs that were brought back.", {"restored": listed(GONE)}),
                having("Runs that can be brought back.", {"deleted": listed(GONE)})],
    "clean": [having("What is left over, and whether it was removed; kept says why a thing stays.", {
        "bytes": WHOLE, "removed": TRUTH, "failed": listed(having("", {"name": TEXT, "reason": TEXT})),
        "found": listed(having("", {"kind": TEXT, "name": TEXT, "folders": listed(TEXT), "bytes": WHOLE,
                                    "kept": MAYBE}))})],
    "diff": [having("What lies between two runs; same is null where it cannot be said.",
                    {"runs": listed(TEXT), "same": {"type": ["boolean", "null"]}, "conclusion": TEXT,
                     "causes": listed(CAUSE), "consequences": listed(CAUSE), "beside": listed(CAUSE),
                     "first_step": ANY, "first_layer": ANY, "last": ANY, "unknown": listed(TEXT)})],
    "summary": [having("The layers of a model, and what they cost: bytes for a batch, multiply-adds for one example.",
                       {"parameters": WHOLE, "multiply_adds": WHOLE, "batch": WHOLE, "memory": {"type": "object"},
                        "layers": listed(having(
                            "A layer.", {"name": TEXT, "layer": TEXT, "output": {"type": "array"}, "parameters": WHOLE,
                                         "multiply_adds": WHOLE, "memory": WHOLE}))})],
    "explain": [having("The arithmetic of each layer, as a person reads it.",
                       {"layers": listed(having("A layer.", {"text": TEXT}))})],
    "sync": [having("Records that were delivered, or not.", {"runs": listed(having(
        "One record.", {"run": TEXT, "delivered": TRUTH, "lost": TRUTH, "message": TEXT}))})],
}  # fmt: skip


def schema() -> dict[str, Any]:
    """Return the schema of a line that a command prints with `--json`.

    The last line is a result, or an error with the exit code; lines before it tell what has happened so far. A command
    that is not in RESULTS has further keys of its own in its result.
    """
    events = [
        _event("run", "A run has begun.", {"run": TEXT, "experiment": TEXT, "uri": TEXT}),
        _event("validation", "A run was validated.", {"run": TEXT, "step": WHOLE, "steps": WHOLE, "metrics": METRICS}),
        _event("job", "A job of a sweep has ended.", JOB["properties"]),
        _event("ui", "The UI is served from here on.", {"address": TEXT}),
        _event("error", "What is wrong, and nothing else was done; or why the command has failed.",
               {"code": {"enum": [1, 2, 130, 143]}, "errors": listed(PROBLEM)}),
    ]  # fmt: skip
    end = {"event": {"const": "result"}, "code": {"enum": [0, 1, 2]}}
    known = [
        {"allOf": [having("", {**end, "command": {"const": name}}), {"anyOf": forms}]}
        for name, forms in RESULTS.items()
    ]
    other = having("", {**end, "command": {"not": {"enum": list(RESULTS)}}})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of `runner COMMAND --json`",
        "anyOf": [*events, *known, other],
    }


def _event(kind: str, description: str, keys: dict[str, Any]) -> dict[str, Any]:
    return having(description, {"event": {"const": kind}, **keys})
