"""Runs the local models: python -m local_models."""

import logging

from aiohttp import web

from local_models.server import LocalModels
from local_models.settings import LocalModelsSettings


def main() -> None:
    """Serves until SIGTERM."""
    settings = LocalModelsSettings()
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    web.run_app(
        LocalModels(settings).build_app(),
        host=settings.listen_host,
        port=settings.listen_port,
        access_log=None,
        # A listener who has heard enough hangs up; nobody shall go on speaking then.
        handler_cancellation=True,
        shutdown_timeout=5,
        print=None,
    )


if __name__ == "__main__":
    main()
