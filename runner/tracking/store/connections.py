"""Connections to an MLflow server: one that has been idle is not used again.

A server closes what is idle: gunicorn after two seconds, uvicorn after five. A request that is on its way just then
gets no answer, and it is unknown whether the server has worked on it: it cannot be sent again without asking.
"""

import time
from typing import Any

from runner.tracking.store import mlflow_private

#: Seconds without a request after which a connection is made anew. Less than any server waits before it closes one.
IDLE = 1.0


def install() -> None:
    """Let the sessions that MLflow makes from here on use connections of this kind. Doing it again changes nothing."""
    mlflow_private.replace_adapter(_adapter, mark="of_runner")


def _adapter(usual: Any) -> Any:
    """Return a subclass of an adapter of requests' whose pools have connections that do not outlive IDLE."""
    from urllib3 import HTTPConnectionPool, HTTPSConnectionPool

    pools = {"http": _pool(HTTPConnectionPool), "https": _pool(HTTPSConnectionPool)}

    class Adapter(usual):  # type: ignore[misc]
        of_runner = True

        def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
            super().init_poolmanager(*arguments, **named)
            self.poolmanager.pool_classes_by_scheme = pools

        def proxy_manager_for(self, *arguments: Any, **named: Any) -> Any:
            manager = super().proxy_manager_for(*arguments, **named)
            manager.pool_classes_by_scheme = pools
            return manager

    return Adapter


def _pool(usual: Any) -> Any:
    class Connection(usual.ConnectionCls):  # type: ignore[misc]
        used = 0.0

        def getresponse(self) -> Any:
            try:
                return super().getresponse()
            finally:
                self.used = time.monotonic()

        @property
        def is_connected(self) -> bool:
            return super().is_connected and time.monotonic() - self.used < IDLE

    return type("Pool", (usual,), {"ConnectionCls": Connection})
