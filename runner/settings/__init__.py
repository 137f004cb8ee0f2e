"""Everything that can be configured, as dataclasses: the type, the default and the unit of each key."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from runner.settings.errors import ConfigError

#: A component is `{name: ClassName, **arguments}`; `name` is looked up, the rest are the class's arguments.
Component = dict[str, Any]

#: Epochs of a training for which no length is given.
EPOCHS = 300


@dataclass
class Model:
    """The layers, and the knobs that they share."""

    layers: Any = None  # a list of layers, or a mapping name -> layer
    # name -> layers of each input, where a batch has several; their outputs are concatenated before `layers`.
    inputs: Any = None
    outputs: Any = None  # name -> layers of each output, on the end of `layers`; the model gives a dict of them
    # A layer's class, its name or a parameter's -> a function of torch.nn.init, as {Linear: xavier_uniform_}; patterns
    # as "*.bias" may stand for names. Of several that fit, the last is taken. null: as torch's layers draw.
    init: Any = None
    knobs: dict[str, Any] = field(default_factory=dict)  # numbers that several layers share
    # Layers that are not trained: [conv1, "norm*"], or {conv1: 5} for the first 5 epochs; by name, class or parameter.
    freeze: Any = None
    # Weights to start from: {run: RUN, checkpoint: best | last}, or {file: weights.pt}; with layers: [...] for those
    # that get them, rename: {old: new} and strict: false for names that only one side has.
    start: Any = None


@dataclass
class Trainer:
    """The training: its length, batches, precision, and when it stops."""

    epochs: int | None = None  # passes over the training data; 0 only runs the model forward; null: 300, or as `steps`
    steps: int | None = None  # optimizer steps of the whole training, in the place of epochs
    batch_size: int | None = None  # examples per batch; null: the whole training set in one batch
    # Examples per batch where nothing is trained: validation, test, predictions. A larger number may be faster, as far
    # as the memory goes, and gives other last bits. null: batch_size, and where that is null too all data in memory, or
    # 256 of a dataset. earlier: as in runs recorded before this key, which took at least 256 of data in memory.
    eval_batch_size: Any = None
    shuffle: bool = True  # a new order every epoch, drawn from `seed`
    drop_last: bool = False  # leave out a last batch that is smaller than the others
    workers: int = 0  # DataLoader processes, for data that does not fit in memory
    validate_every: Any = 1  # from one validation to the next: 1, "2 epochs" | "0.5 epochs" | "250 steps"
    # Batches of training, validation and test each, the same in every epoch: a number, or a share such as 0.1; for a
    # trial of a configuration. null: all.
    limit_batches: Any = None
    # What a run is for that is no real one: fast | overfit | profile | anomaly. debug=fast, debug=overfit and so on set
    # it together with what belongs to it. null: a real run.
    debug: str | None = None
    # Let recurrent layers (RNN, LSTM, GRU) begin each window with the state in which they ended the one before: the
    # batches of an epoch go through the training data in its own order, batch_size stretches side by side.
    carry: bool = False
    # Measure the metrics on the training data too: of an epoch's batches, each before its step, as train/<metric>.
    train_metrics: bool = False
    # What `best` and early stopping go by; null: valid/loss, or train/loss where there is no validation data. For
    # train/loss all training data is evaluated every `validate_every` epochs.
    monitor: str | None = None
    test_checkpoint: str = "best"  # best | last | averaged: whose weights give test/*, predictions.npy and the plots
    mode: str | None = None  # min | max: which values of `monitor` are better; null: the metric's own direction
    patience: int | None = None  # validations without improvement before stopping; null: never
    min_delta: float = 0.0  # a smaller change than this is no improvement
    # {decay: 0.999}: a moving average of every step's weights; {from: 0.75}: a mean of the last quarter's epochs. It is
    # what is validated, tested and served, and what `best` holds; the training goes on with its own weights.
    average: Any = None
    clip_norm: float | None = None  # the gradient's 2-norm is cut down to this
    clip_value: float | None = None  # each gradient element is cut to +- this
    accumulate: int = 1  # batches whose gradients are averaged into one optimizer step
    precision: str = "fp32"  # fp32 | fp64 | bf16 | fp16; bf16 and fp16 by autocast, fp16 with loss scaling
    # experiments.mine.step, or {name: experiments.mine.Step, ...}: what one optimizer step does; null: as the optimizer
    # and the precision want it.
    step: Any = None
    # How fp32 is multiplied: highest | high | medium, see torch.set_float32_matmul_precision; null: as torch does. It
    # multiplies matrices with 24 bits, and on NVIDIA GPUs lets cuDNN convolve with 11 (TF32).
    matmul_precision: str | None = None
    # Keep the channels of a place of an image side by side in memory, as convolutions of many channels in bf16 or fp16
    # want it on NVIDIA GPUs. Other last bits; a small model, or one on the CPU, may become slower.
    channels_last: bool = False
    # auto | true | false: the step is captured once and replayed, on an accelerator as a graph of the device, on the
    # processor as a list of operations; the numbers are the same. auto: where all layers are torch's and it pays. null:
    # as version 0.1 trained, with torch's default optimizer steps on an accelerator.
    graph: Any = "auto"
    compile: Any = False  # true, or the name of a torch.compile backend
    deterministic: bool = False  # only algorithms that give the same bits twice; slower on a GPU
    time_limit: str | None = None  # "90 minutes", "12 hours": stop and save before the process is that old; null: never
    # CPU threads for one operation. auto: by the size of a step, and no more than this process's share of the cores;
    # null: torch's own number. Other numbers give other last bits; the run's tag `threads` says which it was.
    threads: Any = "auto"

    def __post_init__(self) -> None:
        if self.epochs is None and self.steps is None:
            self.epochs = EPOCHS

    @property
    def trains(self) -> bool:
        """True if there are steps to be taken; without, inputs are only pushed through the model."""
        return bool(self.steps or self.epochs)


@dataclass
class Checkpoint:
    """When checkpoints are written, in which format, and how many stay."""

    every: Any = None  # 1 | "2 epochs" | "100 steps" | "10 minutes"; null: at the end, and when interrupted
    format: str = "state_dict"  # state_dict | model | both
    keep: int = 2  # the newest so many, beside the best; with one alone there is none to fall back to


@dataclass
class Tracking:
    """Where and under which name a run is recorded."""

    uri: str = "sqlite:///mlflow.db"  # where MLflow keeps runs; the preset takes MLFLOW_TRACKING_URI if that is set
    experiment: str | None = None  # null: the name of the experiments file, or `runner`
    run_name: str | None = None  # null: the overrides, or the name of the experiments file
    tags: dict[str, str] = field(default_factory=dict)
    log_model: bool = False  # also log an MLflow model that mlflow.pyfunc.load_model serves; takes seconds


@dataclass
class Sweep:
    # What a search optimizes: a metric, or one for each of hydra.sweeper.direction; null: trainer.monitor. Of what is
    # monitored the best value counts, of another metric the last, and of several the last of each.
    """Keys of a sweep or a search as a whole."""

    metric: Any = None
    pruner: Any = None  # stops jobs that do worse: asha | median, or {name: asha, factor: 3, ...}; null: none
    keep_going: bool = False  # true: wrong jobs are reported and left out; false: one wrong job, and none begins
    resume: str | None = None  # a sweep's id, or last: its unfinished jobs are run
    reuse: bool = False  # true: a job whose configuration has a FINISHED run in this experiment is not run again
    # Whose checkpoints, predictions and plots stay when jobs have FINISHED: all | best | none. Losses, metrics and the
    # configuration stay of every job.
    keep: str = "all"
    plots: bool = True  # false: no plots of the sweep as a whole; those of its jobs are `plots`


@dataclass
class Settings:
    """The whole configuration of a run."""

    seed: int = 0  # initial weights, order of the batches, dropout
    device: str = "auto"  # auto | cpu | cuda | cuda:N | mps
    data: Component = field(default_factory=dict)
    model: Model = field(default_factory=Model)
    loss: Component = field(default_factory=dict)
    optimizer: Component = field(default_factory=dict)
    scheduler: Component | None = field(default_factory=dict)  # null or empty: the learning rate stays
    # Names in torchmetrics, or {Name: {argument: value}}; a list, a mapping with a name for each, or with a list for
    # each output of the model; null: none.
    metrics: Any = None
    # Names of plots at the end; {name: {every: 5}} draws one after every 5 epochs ("500 steps") too.
    plots: list[Any] = field(default_factory=lambda: ["loss_curve"])
    trainer: Trainer = field(default_factory=Trainer)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    tracking: Tracking = field(default_factory=Tracking)
    sweep: Sweep = field(default_factory=Sweep)

    def __post_init__(self) -> None:
        self.scheduler = self.scheduler or None
        self.metrics = [] if self.metrics is None else self.metrics


#: The names of a run's checkpoints.
CHECKPOINTS = ("best", "last", "averaged")
#: The value of trainer.eval_batch_size in records of before that key.
EARLIER = "earlier"
#: Keys of `trainer` -> what versions without them did, which is another thing than their defaults.
BEFORE = {"eval_batch_size": EARLIER, "graph": None}


def completed(values: Any) -> Any:
    """Return recorded values; newer keys without which runs were others than with their defaults get what was then."""
    trainer = values.get("trainer") if isinstance(values, dict) else None
    return {**values, "trainer": {**BEFORE, **trainer}} if isinstance(trainer, dict) else values


def made(values: dict[str, Any]) -> Settings:
    """Return settings made of plain values, such as a recorded config.yaml; newer keys keep their defaults.

    Raises ConfigError for an unknown key.
    """
    return _made(Settings, values, "")  # type: ignore[no-any-return]


def _made(kind: Any, values: Any, parent: str) -> Any:
    if not isinstance(values, dict):
        raise ConfigError(parent[:-1], f"{str(values)[:60]!r} is not a mapping; expected keys and values")
    fields = {f.name: f.type for f in dataclasses.fields(kind)}
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        if name not in fields:
            raise ConfigError(
                f"{parent}{name}", "the run was made by another version of runner, with a key that this one lacks"
            )
        inner = dataclasses.is_dataclass(fields[name])
        arguments[name] = _made(fields[name], value, f"{parent}{name}.") if inner else value
    return kind(**arguments)
