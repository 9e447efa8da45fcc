"""Runs the local models: python -m local_models."""

from aiohttp import web

from local_models.server import LocalModels
from local_models.settings import LocalModelsSettings
from voice_telemetry.start import start


def main() -> None:
    """Serves until SIGTERM."""
    settings = start("local_models", LocalModelsSettings, prefix=LocalModelsSettings.model_config["env_prefix"])
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
