"""Loaded once by the process that commands are forked from: what nearly all of them would load, scan and list anew.

Left out is what a test takes away to see it missed (`exports`). What a fresh process loads, and what it may find in its
working directory, is tested with `command.fresh`.
"""

import importlib
import pkgutil

from hydra.core.plugins import Plugins

import runner
from runner.tracking import environment
from tests.support import torchvision_here

torchvision_here.install()
OURS = [found.name for found in pkgutil.walk_packages(runner.__path__, "runner.")]
OTHERS = ("torch._dynamo", "torchmetrics", "matplotlib.backends.backend_agg", "mlflow.store.tracking.sqlalchemy_store")

for name in (*OURS, *OTHERS):
    if not name.startswith(("runner.__main__", "runner.tracking.read.export")):
        importlib.import_module(name)
environment._packages()
Plugins.instance()
